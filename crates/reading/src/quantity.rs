use std::fmt;
use std::str::FromStr;

use crate::Unit;

/// What can be measured of one kind of thing: the keys of [`crate::Readings`].
pub trait Measurable: Copy + Ord + fmt::Display {
    /// The unit its readings are in.
    fn unit(self) -> Unit;
}

macro_rules! quantities {
    (
        $(#[$enum_doc:meta])* $type:ident;
        $($(#[$doc:meta])* $variant:ident = $name:literal, $unit:ident;)*
    ) => {
        $(#[$enum_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $type {
            $($(#[$doc])* $variant,)*
        }

        impl $type {
            /// All of them, in the order of their discriminants.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name after the source's (`gpu.`, `engine.`), lower case with underscores.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The unit its readings are in.
            #[must_use]
            pub const fn unit(self) -> Unit {
                match self { $(Self::$variant => Unit::$unit,)* }
            }
        }

        impl Measurable for $type {
            fn unit(self) -> Unit {
                self.unit()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(self.name())
            }
        }

        impl FromStr for $type {
            type Err = ();

            fn from_str(name: &str) -> Result<Self, ()> {
                Self::ALL.iter().copied().find(|quantity| quantity.name() == name).ok_or(())
            }
        }
    };
}

pub(crate) use quantities;

quantities! {
    /// What is measured of a device. The vocabulary of readings and of `gpu.*` signals.
    Quantity;

    /// Part of the time in which at least one kernel ran (NVML's "GPU utilization"): 1 can be one
    /// small kernel in a loop. Not available on MIG.
    Utilization = "utilization", Ratio;
    /// Part of the streaming multiprocessors' time with at least one warp resident (GPM).
    SmActive = "sm_active", Ratio;
    /// Resident warps as a part of the possible ones (GPM).
    SmOccupancy = "sm_occupancy", Ratio;
    /// Part of the cycles in which a tensor pipe was active (GPM).
    TensorActive = "tensor_active", Ratio;
    /// Part of a longer sliding window in which the device was busy at all.
    DutyCycle = "duty_cycle", Ratio;
    /// Used memory as a part of the total.
    MemoryUsedPercent = "memory_used_percent", Ratio;
    /// Memory allocated on the device, without the driver's reservation.
    MemoryUsedBytes = "memory_used_bytes", Bytes;
    /// Memory free for allocation.
    MemoryFreeBytes = "memory_free_bytes", Bytes;
    /// Memory that the driver keeps for itself.
    MemoryReservedBytes = "memory_reserved_bytes", Bytes;
    /// The device's whole memory.
    MemoryTotalBytes = "memory_total_bytes", Bytes;
    /// Part of the memory bandwidth in use (GPM), or of the time in which memory was read or
    /// written (NVML's "memory utilization") where GPM is missing.
    MemoryBandwidth = "memory_bandwidth", Ratio;
    /// Power drawn.
    Power = "power", Watts;
    /// The power limit that the driver enforces.
    PowerLimit = "power_limit", Watts;
    /// Energy used since the driver was loaded; a counter.
    Energy = "energy", Joules;
    /// Temperature of the GPU.
    Temperature = "temperature", Celsius;
    /// Clock of the streaming multiprocessors.
    SmClock = "sm_clock", Hertz;
    /// Clock of the memory.
    MemoryClock = "memory_clock", Hertz;
    /// Sent over PCIe by the device.
    PcieTx = "pcie_tx", BytesPerSecond;
    /// Received over PCIe by the device.
    PcieRx = "pcie_rx", BytesPerSecond;
    /// Sent over all NVLinks.
    NvlinkTx = "nvlink_tx", BytesPerSecond;
    /// Received over all NVLinks.
    NvlinkRx = "nvlink_rx", BytesPerSecond;
    /// Part of the time in which the video encoder was busy.
    EncoderUtilization = "encoder_utilization", Ratio;
    /// Part of the time in which the video decoder was busy.
    DecoderUtilization = "decoder_utilization", Ratio;
    /// Memory errors corrected since the driver was loaded; a counter.
    EccCorrected = "ecc_corrected", Count;
    /// Memory errors not corrected since the driver was loaded; a counter.
    EccUncorrected = "ecc_uncorrected", Count;
    /// PCIe replays; a counter.
    PcieReplays = "pcie_replays", Count;
}

impl Quantity {
    /// Whether it only grows while the driver stays loaded.
    #[must_use]
    pub const fn is_counter(self) -> bool {
        matches!(
            self,
            Self::Energy | Self::EccCorrected | Self::EccUncorrected | Self::PcieReplays
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        for &quantity in Quantity::ALL {
            assert_eq!(quantity.name().parse(), Ok(quantity));
            assert_eq!(Quantity::ALL[quantity as usize], quantity);
        }
        assert_eq!("nonsense".parse::<Quantity>(), Err(()));
    }
}
