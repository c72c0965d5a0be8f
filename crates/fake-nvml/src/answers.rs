//! The entry points of NVML.

mod clocks;
mod ecc;
mod event;
mod field;
mod gpm;
mod identity;
mod link;
mod load;
mod memory;
mod mig;
mod power;
mod process;
mod system;
mod unsupported;

/// Defines C functions of NVML: each body runs inside [`crate::call::run`].
macro_rules! entry_points {
    ($($(#[$attribute:meta])* fn $name:ident($($argument:ident: $kind:ty),* $(,)?) |$call:pat_param| $body:block)*) => {
        $(
            $(#[$attribute])*
            // SAFETY: the name is NVML's own, and this is the library that defines NVML's names.
            #[unsafe(no_mangle)]
            #[allow(non_snake_case, reason = "NVML's own name")]
            extern "C" fn $name($($argument: $kind),*) -> nvml_wrapper_sys::bindings::nvmlReturn_t {
                crate::call::run(stringify!($name), |$call| $body)
            }
        )*
    };
}
use entry_points;
