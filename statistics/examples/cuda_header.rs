//! Prints the header that the CUDA kernels include, for builds outside of cargo.

fn main() {
    print!("{}", growthpath_statistics::cuda_header());
}
