//! The declared partial rows: their CUDA header and their merge.

use growthpath_kernels::attention::accumulators::{Combine, backward, forward, header};

#[test]
fn the_cuda_header_is_this_declaration() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda/attention_stats.cuh");
    if std::env::var_os("GROWTHPATH_WRITE_HEADER").is_some() {
        std::fs::write(&path, header()).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    let mend = "GROWTHPATH_WRITE_HEADER=1 cargo test -p growthpath-kernels --test ops header";
    assert_eq!(kept, header(), "kernels/cuda/attention_stats.cuh is stale: {mend}");
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
