//! Names of addresses and shapes of functions, beyond what the ground floor's tables know.

pub mod btf;
pub mod kernel_arguments;
