//! The declared partial rows, their CUDA header, and what is finished from them.

use growthpath_statistics::logits::{LogitStats, all, backward, forward};
use growthpath_statistics::{Combine, Counted, cuda_header};

#[test]
fn the_cuda_header_counts_as_rust_does() {
    let text = cuda_header();
    let body = |n: usize| text.split("enum {\n").nth(n).unwrap().split("};").next().unwrap();
    for (n, prefix, list, sums) in
        [(1, "FORWARD", forward::ALL, forward::SUMS), (2, "BACKWARD", backward::ALL, backward::SUMS)]
    {
        let names: Vec<&str> =
            body(n).lines().map(|l| l.split(&[',', ' '][..]).find(|w| !w.is_empty()).unwrap()).collect();
        let mut want: Vec<String> = list.iter().map(|a| format!("{prefix}_{}", a.name)).collect();
        want.extend([format!("{prefix}_STATS"), format!("{prefix}_SUMS")]);
        assert_eq!(names, want);
        assert!(body(n).contains(&format!("{prefix}_SUMS = {sums} ")));
    }
}

#[test]
fn every_statistic_has_a_name_of_its_own() {
    let mut names: Vec<&str> = all().map(|s| s.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all().count());
}

#[test]
fn means_run_over_the_rows_that_count() {
    let counted = Counted { sequences: 2, seq_len: 9, head_dim: 4 };
    let mut totals = forward::EMPTY;
    // Rows of 1 to 9 keys: 18 rows, 90 pairs, 16 rows of at least 2 keys, 4 of at least 8.
    totals[forward::SQUARES] = 90.0;
    totals[forward::ENTROPY] = 8.0;
    totals[forward::SHARPNESS] = 1.0;
    totals[forward::TOP1] = 9.0;
    (totals[forward::LOGITS], totals[forward::PAIRED_QUERY], totals[forward::PAIRED_KEY]) = (3.0, 9.0, 4.0);
    let s = LogitStats::finish(counted, &totals);
    assert_eq!((s.s_ms, s.entropy, s.sharpness, s.top1, s.qk_cos), (1.0, 0.5, 0.25, 0.5, 1.0));
    let short = LogitStats::finish(Counted { seq_len: 7, ..counted }, &totals);
    assert!(short.sharpness.is_nan() && short.entropy.is_finite());
    totals[forward::PAIRED_KEY] = 0.0;
    assert!(LogitStats::finish(counted, &totals).qk_cos.is_nan());
    let place = LogitStats::ALL.iter().position(|s| s.name == "top1").unwrap();
    assert_eq!(s.values()[place], s.top1);
}

#[test]
fn rows_merge_by_their_declaration() {
    for (i, declared) in forward::ALL.iter().enumerate() {
        assert_eq!(forward::MAXIMA >> i & 1 == 1, declared.combine == Combine::Max, "{}", declared.name);
    }
    assert_eq!((forward::MAXIMA >> forward::COUNT, backward::MAXIMA), (0, 0));
    let mut total = forward::EMPTY;
    let (mut a, mut b) = ([1.0; forward::COUNT], [2.0; forward::COUNT]);
    (a[forward::DEPTH], b[forward::DEPTH]) = (-3.0, -5.0);
    forward::merge(&mut total, &a);
    assert_eq!(total, a, "a merge into an empty row keeps the other");
    forward::merge(&mut total, &b);
    for (i, declared) in forward::ALL.iter().enumerate() {
        let want = match declared.combine {
            Combine::Sum => a[i] + b[i],
            Combine::Max => a[i].max(b[i]),
        };
        assert_eq!(total[i], want, "{}", declared.name);
    }
}
