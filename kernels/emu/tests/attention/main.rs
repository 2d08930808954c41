//! Causal attention, both directions, against float64 with the T x T matrices written out.

mod backward;
mod case;
mod forward;
#[path = "../support/mod.rs"]
mod support;
#[allow(dead_code)] // which products are fastest is not the emulator's to say
#[path = "../../../src/attention/tiles.rs"]
mod tiles;

use backward::check_backward;
use case::*;
use forward::check_forward;
use growthpath_emu::{Arg, Bf16, Launch, Schedule};
use growthpath_statistics::logits::forward as row;
use proptest::prelude::*;
use support::*;
use tiles::tiles;

#[test]
fn forward_float() {
    for c in CASES {
        for schedule in Schedule::ALL {
            check_forward::<f32>(c, schedule);
        }
    }
}

#[test]
fn forward_bf16() {
    for c in CASES {
        for schedule in Schedule::ALL {
            check_forward::<Bf16>(c, schedule);
        }
    }
}

#[test]
fn backward_float() {
    for c in CASES {
        for schedule in Schedule::ALL {
            check_backward::<f32>(c, schedule);
        }
    }
}

#[test]
fn backward_bf16() {
    for c in CASES {
        for schedule in Schedule::ALL {
            check_backward::<Bf16>(c, schedule);
        }
    }
}

#[test]
fn a_nan_logit_is_loud() {
    nan_is_loud::<f32>();
    nan_is_loud::<Bf16>();
}

fn nan_is_loud<S: Storage>() {
    for dh in [32, 64, 128] {
        nan_is_loud_in_heads_of::<S>(dh);
    }
}

fn nan_is_loud_in_heads_of<S: Storage>(dh: usize) {
    let c = case(1, 1, 40, dh, false, 1.0, 0.0);
    let mut x = inputs::<S>(&c, 3);
    x.qkv[20 * 3 * dh] = S::new(f32::NAN); // a query of row 20
    for p in products::<S>(dh) {
        let f = forward(*p, &c, &x, Schedule::Forward);
        let row = |i: usize| f.o[i * dh..(i + 1) * dh].iter().all(|v| v.get().is_finite());
        assert!(row(19) && !row(20) && row(21));
        let stats = reduce(&f.stats, 1, 1, row::COUNT, row::MAXIMA);
        for (place, v) in stats.iter().enumerate() {
            let of_keys = place == row::KEY || place == row::PAIRED_KEY;
            assert_eq!(v.is_nan(), !of_keys, "{}: {v}", row::ALL[place].name);
        }
    }
}

/// The same bits whatever the order of threads, blocks and asynchronous copies.
#[test]
fn results_do_not_depend_on_the_order() {
    for dh in [32, 64, 128] {
        let c = case(1, 2, 150, dh, true, 1.0, 2.0);
        let x = inputs::<Bf16>(&c, 5);
        let bits = |products, schedule| {
            let f = forward(products, &c, &x, schedule);
            let o: Vec<f32> = f.o.iter().map(|v| v.get32()).collect();
            [o, f.lse, f.stats].concat().into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        for p in products::<Bf16>(dh) {
            let want = bits(*p, Schedule::Forward);
            for schedule in [Schedule::Reverse, Schedule::Permuted(1), Schedule::Permuted(2)] {
                assert_eq!(bits(*p, schedule), want, "dh {dh}, {p:?}, {schedule:?}");
            }
        }
    }
}

/// One byte of shared memory too little is refused: the launchers' sizes are the kernels'.
#[test]
fn the_launchers_give_exactly_what_the_kernels_take() {
    let widths = [16, 32, 64, 128].into_iter();
    for (dh, products) in widths.flat_map(|dh| products::<Bf16>(dh).iter().map(move |p| (dh, *p))) {
        let c = case(1, 1, 9, dh, false, 1.0, 0.0);
        let x = inputs::<Bf16>(&c, 6);
        let t = tiles(products, dh);
        let (o, lse) = (unwritten::<Bf16>(9 * dh), vec![1f32; 9]);
        let (wide, stats) = (unwritten::<Bf16>(27 * dh), vec![0f32; 64]);
        let sizes: [Arg<'_>; 3] = [1i32.into(), 1i32.into(), 9i32.into()];
        let qkv = (&x.qkv).into();
        let forward = [qkv, Arg::NULL, Arg::NULL, (&o).into(), (&lse).into(), (&stats).into()];
        let query = [(&o).into(), qkv, (&o).into(), Arg::NULL, Arg::NULL, (&lse).into(), (&lse).into()];
        let key = [(&o).into(), qkv, Arg::NULL, Arg::NULL, (&lse).into(), (&lse).into(), (&wide).into()];
        for (kernel, threads, bytes, args) in [
            ("fwd", t.forward_threads, t.forward_bytes, [&forward[..], &sizes].concat()),
            (
                "bwd_q",
                t.backward_threads,
                t.backward_bytes,
                [&query[..], &[(&wide).into(), (&stats).into()], &sizes].concat(),
            ),
            ("bwd_kv", t.backward_threads, t.backward_bytes, [&key[..], &sizes[1..]].concat()),
        ] {
            let run = |shared| {
                let launch = Launch {
                    grid: [1, 1, 1],
                    block: [threads as u32, 1, 1],
                    shared,
                    schedule: Schedule::Forward,
                };
                // SAFETY: every array is as long as the kernel's comment says, for one head of nine tokens.
                unsafe { launch.run(&products.kernel(kernel, dh), &args) }
            };
            assert_eq!(run(bytes), Ok(()), "{kernel}, dh {dh}, {products:?}");
            let error = run(bytes - 16).expect_err("too little");
            assert!(error.message.contains("the launch gave"), "{error}");
        }
    }
}

fn any_case() -> impl Strategy<Value = Case> {
    let shape =
        (1usize..3, 1usize..4, 1usize..200, prop::sample::select(vec![16usize, 32, 64, 128]), any::<bool>());
    (shape, -3.0..1.5f64, 0.0..6.0f64).prop_map(|((batch, heads, seq, dh, rope), log_spread, offset)| Case {
        batch,
        heads,
        seq: if dh == 128 { seq.min(140) } else { seq },
        dh,
        rope,
        spread: log_spread.exp(),
        offset,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any shape and scale agrees with the reference, both ways.
    #[test]
    fn any_shape_agrees(c in any_case(), seed in 0u16..1000) {
        check_forward::<f32>(&c, Schedule::Permuted(seed));
        check_forward::<Bf16>(&c, Schedule::Permuted(seed));
        check_backward::<f32>(&c, Schedule::Permuted(seed));
        check_backward::<Bf16>(&c, Schedule::Permuted(seed));
    }

    /// Bounds that no logits can break: the bracket (2.5), entropy within ln(len), the largest weight at least the
    /// uniform one and at most one, the centred energy at most the whole.
    #[test]
    fn statistics_keep_their_bounds(c in any_case()) {
        let x = inputs::<Bf16>(&c, 4);
        let tiles = count::<Bf16>(&c);
        let by = products::<Bf16>(c.dh).iter().map(|p| forward(*p, &c, &x, Schedule::Forward));
        let stats = by.flat_map(|f| reduce(&f.stats, c.heads * c.batch, tiles, row::COUNT, row::MAXIMA));
        let stats: Vec<_> = stats.collect();
        let uniform: f64 = (1..=c.seq).map(|len| 1.0 / len as f64).sum();
        let rows = c.seq as f64;
        for s in stats.chunks(row::COUNT).map(f64s) {
            // log-sum-exp and maximum round at their own size; sums of positive terms at theirs
            let slack = 1e-5 * rows;
            let (top, bracket) = (s[row::TOP], s[row::BRACKET]);
            prop_assert!(bracket >= 0.0 && bracket <= 8.0 * U32 * (top.abs() + rows.ln() + 1.0) + 1e-5, "{s:?}");
            prop_assert!(s[row::CENTRED] >= 0.0 && s[row::CENTRED] <= s[row::SQUARES] * (1.0 + 1e-4), "{s:?}");
            prop_assert!(s[row::ENTROPY] >= -slack && s[row::ENTROPY] <= rows - 1.0 + slack, "{s:?}");
            prop_assert!(s[row::TOP1] >= uniform - slack && s[row::TOP1] <= rows + slack, "{s:?}");
            // each of the rows with 8 keys or more lies between uniform and one-hot
            let sharp = (rows - 7.0).max(0.0);
            prop_assert!(s[row::SHARPNESS] >= -slack && s[row::SHARPNESS] <= sharp + slack, "{s:?}");
            prop_assert!(s[row::DISTANCE] >= 0.0 && s[row::DISTANCE] <= rows * (rows - 1.0) / 2.0, "{s:?}");
            prop_assert!(-s[row::DEPTH] <= top, "{s:?}");
            // Cauchy-Schwarz over the pairs
            let most = (s[row::PAIRED_QUERY] * s[row::PAIRED_KEY] / c.dh as f64).sqrt();
            prop_assert!(s[row::LOGITS].abs() <= most * (1.0 + 1e-4), "{s:?}");
        }
    }
}
