//! Settings into instances: judged against this machine first, then written, each with its reverse noted.

pub mod configure;
pub mod plan;
pub mod tsc;
