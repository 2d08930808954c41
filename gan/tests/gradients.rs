//! Every operation's reverse pass against central differences in float64, on odd shapes.

mod common;

use candle_core::{Result, Tensor};
use common::{check, random, values};
use faster_projected_gan::ops::*;

#[test]
fn upsampling_adds_where_a_tensor_feeds_two_paths() {
    check("upsample", &[random(&[2, 3, 3, 5], 1)], |x| upsample_nearest_2x(&x[0]));
    // The trap: candle's own assigns, so that one of the two paths is lost whichever comes first.
    check("upsample and a skip", &[random(&[1, 2, 3, 5], 2)], |x| {
        let skip = x[0].sqr()?.sum_keepdim(1)?;
        let up = upsample_nearest_2x(&x[0])?;
        let again = upsample_nearest_2x(&skip)?;
        up.broadcast_mul(&again)?.broadcast_add(&upsample_nearest_2x(&x[0].exp()?)?)
    });
}

#[test]
fn upsampling_repeats_pixels() {
    let x = Tensor::from_vec(vec![1.0f64, 2.0, 3.0, 4.0, 5.0, 6.0], (1, 1, 2, 3), &candle_core::Device::Cpu)
        .unwrap();
    let want =
        [1., 1., 2., 2., 3., 3., 1., 1., 2., 2., 3., 3., 4., 4., 5., 5., 6., 6., 4., 4., 5., 5., 6., 6.];
    assert_eq!(values(&upsample_nearest_2x(&x).unwrap()), want);
}

#[test]
fn bilinear() {
    for corners in [Corners::Aligned, Corners::HalfPixel] {
        for (h, w) in [(7, 9), (6, 10), (4, 3), (1, 1)] {
            check("bilinear", &[random(&[2, 1, 3, 5], 3)], |x| resize_bilinear(&x[0], h, w, corners));
        }
    }
}

#[test]
fn bilinear_matches_worked_examples() {
    let x = Tensor::from_vec(vec![0.0f64, 1.0, 2.0], (1, 1, 1, 3), &candle_core::Device::Cpu).unwrap();
    let aligned = values(&resize_bilinear(&x, 1, 5, Corners::Aligned).unwrap());
    let half = values(&resize_bilinear(&x, 1, 6, Corners::HalfPixel).unwrap());
    let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
    assert!(close(&aligned, &[0.0, 0.5, 1.0, 1.5, 2.0]), "{aligned:?}");
    assert!(close(&half, &[0.0, 0.25, 0.75, 1.25, 1.75, 2.0]), "{half:?}");
}

/// Convolution by its definition.
fn naive(x: &Tensor, w: &Tensor, window: Window, groups: usize) -> Vec<f64> {
    let (b, ci, h, wd) = x.dims4().unwrap();
    let (co, cg, k, _) = w.dims4().unwrap();
    let (oh, ow) = (window.output(h), window.output(wd));
    let (xv, wv) = (values(x), values(w));
    let mut out = Vec::new();
    for n in 0..b {
        for o in 0..co {
            for y in 0..oh {
                for z in 0..ow {
                    let mut sum = 0.0;
                    for c in 0..cg {
                        let channel = o / (co / groups) * cg + c;
                        for ky in 0..k {
                            for kx in 0..k {
                                let iy = (y * window.stride + ky) as isize - window.before as isize;
                                let ix = (z * window.stride + kx) as isize - window.before as isize;
                                if iy >= 0 && ix >= 0 && (iy as usize) < h && (ix as usize) < wd {
                                    let at = ((n * ci + channel) * h + iy as usize) * wd + ix as usize;
                                    sum += xv[at] * wv[((o * cg + c) * k + ky) * k + kx];
                                }
                            }
                        }
                    }
                    out.push(sum);
                }
            }
        }
    }
    out
}

fn agree(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 1e-12 * (1.0 + a.abs()), "{a} {b}");
    }
}

const WINDOWS: [Window; 7] = [
    Window::new(1, 1, 0),
    Window::new(3, 1, 1),
    Window::new(3, 2, 1),
    Window::new(4, 2, 1),
    Window::new(4, 1, 0),
    Window { kernel: 3, stride: 2, before: 0, after: 1 },
    Window { kernel: 5, stride: 2, before: 1, after: 2 },
];

#[test]
fn dense_convolution() {
    for (i, window) in WINDOWS.into_iter().enumerate() {
        for batch in [1, 3] {
            let x = random(&[batch, 2, 5, 7], i as u64);
            let w = random(&[3, 2, window.kernel, window.kernel], 50 + i as u64);
            agree(&values(&conv2d(&x, &w, window).unwrap()), &naive(&x, &w, window, 1));
            check("conv2d", &[x, w], |t| conv2d(&t[0], &t[1], window));
        }
    }
}

#[test]
fn dense_convolution_in_strips() {
    // More output pixels than a patch matrix holds, and an odd last strip.
    for window in [Window::new(3, 1, 1), Window::new(1, 1, 0), Window::new(4, 2, 1)] {
        for batch in [1, 3] {
            let x = random(&[batch, 2, 53, 91], 7);
            let w = random(&[2, 2, window.kernel, window.kernel], 8);
            agree(&values(&conv2d(&x, &w, window).unwrap()), &naive(&x, &w, window, 1));
            // Linear in both operands: <conv(x, w), g> = <x, dx> = <w, dw>, over every element at once.
            adjoint(&x, &w, |x, w| conv2d(x, w, window));
        }
    }
}

fn adjoint(x: &Tensor, w: &Tensor, f: impl Fn(&Tensor, &Tensor) -> Result<Tensor>) {
    let (x, w) = (candle_core::Var::from_tensor(x).unwrap(), candle_core::Var::from_tensor(w).unwrap());
    let y = f(&x, &w).unwrap();
    let loss = y.mul(&random(y.dims(), 5)).unwrap().sum_all().unwrap();
    let grads = loss.backward().unwrap();
    let value = values(&loss)[0];
    for v in [&x, &w] {
        let dot: f64 = values(v).iter().zip(values(grads.get(v).unwrap())).map(|(a, b)| a * b).sum();
        assert!((dot - value).abs() < 1e-9 * (1.0 + value.abs()), "{dot} {value}");
    }
}

#[test]
fn depthwise_convolution() {
    let windows = [
        Window::new(3, 1, 1),
        Window::new(3, 2, 1),
        Window::new(5, 1, 2),
        Window { kernel: 3, stride: 2, before: 0, after: 1 },
        Window { kernel: 5, stride: 2, before: 1, after: 2 },
    ];
    for (i, window) in windows.into_iter().enumerate() {
        for (h, width) in [(5, 7), (8, 8), (6, 19)] {
            let x = random(&[2, 3, h, width], i as u64);
            let w = random(&[3, 1, window.kernel, window.kernel], 50 + i as u64);
            agree(&values(&depthwise_conv2d(&x, &w, window).unwrap()), &naive(&x, &w, window, 3));
            check("depthwise", &[x, w], |t| depthwise_conv2d(&t[0], &t[1], window));
        }
    }
    let x = random(&[3, 40, 33, 65], 1);
    let w = random(&[40, 1, 3, 3], 2);
    adjoint(&x, &w, |x, w| depthwise_conv2d(x, w, Window::new(3, 1, 1)));
}

#[test]
fn batch_norm() {
    let inputs = [random(&[3, 2, 3, 5], 1), random(&[2], 2), random(&[2], 3)];
    check("batch norm", &inputs, |t| Ok(batch_norm_train(&t[0], &t[1], &t[2], 1e-5)?.0));
    let fixed = Statistics { mean: vec![0.3, -0.2], variance: vec![0.5, 2.0], count: 9 };
    check("batch norm, fixed", &inputs, |t| batch_norm_eval(&t[0], &t[1], &t[2], &fixed, 1e-5));
    let one = Tensor::ones(2, candle_core::DType::F64, &candle_core::Device::Cpu).unwrap();
    let (y, s) = batch_norm_train(&inputs[0], &one, &one.zeros_like().unwrap(), 0.0).unwrap();
    assert_eq!(s.count, 45);
    for c in 0..2 {
        let v: Vec<f64> = values(&y).chunks(15).skip(c).step_by(2).flatten().copied().collect();
        let mean = v.iter().sum::<f64>() / 45.0;
        let square = v.iter().map(|v| v * v).sum::<f64>() / 45.0;
        assert!(mean.abs() < 1e-12 && (square - 1.0).abs() < 1e-12, "{mean} {square}");
    }
}

#[test]
fn gated_linear_unit() {
    check("glu", &[random(&[3, 6, 3, 5], 1)], |x| glu(&x[0]));
}

#[test]
fn noise() {
    let n = random(&[2, 1, 3, 5], 9);
    check("noise", &[random(&[2, 3, 3, 5], 1), random(&[1], 2)], |t| {
        add_noise(&t[0], &t[1], &n.to_dtype(t[0].dtype())?)
    });
}

#[test]
fn activations() {
    use Activation::*;
    for act in [Identity, Relu6, LeakyRelu(0.2), Silu, Sigmoid] {
        check("activation", &[(random(&[2, 3, 3, 5], 1) * 8.0).unwrap()], |x| activate(&x[0], act));
        let inputs = [(random(&[2, 3, 3, 5], 2) * 8.0).unwrap(), random(&[3], 3)];
        check("bias and activation", &inputs, |t| bias_activate(&t[0], &t[1], act));
    }
}

#[test]
fn channel_scales() {
    check("scale", &[random(&[2, 3, 3, 5], 1), random(&[2, 3, 1, 1], 2)], |t| scale_channels(&t[0], &t[1]));
}

#[test]
fn spectral_norm() {
    let w = random(&[5, 3, 3, 3], 1);
    let (mut u, mut v) = power_iteration(&w, &random(&[5], 2)).unwrap();
    // Far from converged: the gradient must hold for any u and v.
    check("spectral norm", std::slice::from_ref(&w), |t| {
        spectral_normalize(&t[0], &u.to_dtype(t[0].dtype())?, &v.to_dtype(t[0].dtype())?)
    });
    for _ in 0..400 {
        (u, v) = power_iteration(&w, &u).unwrap();
    }
    // Converged: the largest singular value of the result is 1, and no vector is stretched by more.
    let n = spectral_normalize(&w, &u, &v).unwrap().reshape((5, 27)).unwrap();
    let gram = n.matmul(&n.t().unwrap()).unwrap();
    let top = gram.matmul(&u.reshape((5, 1)).unwrap()).unwrap();
    for (a, b) in values(&top).iter().zip(values(&u)) {
        assert!((a - b).abs() < 1e-9, "{a} {b}");
    }
}

#[test]
fn wrong_shapes_are_named() {
    let x = random(&[1, 3, 4, 4], 1);
    let e = conv2d(&x, &random(&[2, 2, 3, 3], 2), Window::new(3, 1, 1)).unwrap_err().to_string();
    assert!(e.contains("do not fit"), "{e}");
    assert!(depthwise_conv2d(&x, &random(&[3, 1, 4, 4], 2), Window::new(4, 1, 1)).is_err());
    assert!(glu(&x).unwrap_err().to_string().contains("odd number"));
    assert!(add_noise(&x, &random(&[1], 1), &random(&[1, 1, 3, 4], 1)).is_err());
}
