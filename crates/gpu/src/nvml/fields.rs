use std::os::raw::c_int;

use nvml_wrapper_sys::bindings::{
    nvmlFieldValue_t, nvmlValue_t, nvmlValueType_enum_NVML_VALUE_TYPE_DOUBLE as DOUBLE,
    nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_INT as SIGNED_INT,
    nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_LONG_LONG as SIGNED_LONG_LONG,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT as UNSIGNED_INT,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG as UNSIGNED_LONG,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG as UNSIGNED_LONG_LONG,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_SHORT as UNSIGNED_SHORT, nvmlValueType_t,
};

use super::{Handle, NvmlError, Session};

/// Field ids of `nvml.h` (`NVML_FI_DEV_…`).
pub(crate) mod field {
    pub(crate) use nvml_wrapper_sys::bindings::field_id::{
        NVML_FI_DEV_ECC_DBE_VOL_TOTAL as ECC_UNCORRECTED, NVML_FI_DEV_ECC_SBE_VOL_TOTAL as ECC_CORRECTED,
        NVML_FI_DEV_NVLINK_COUNT_RCV_BYTES as NVLINK_RX_BYTES,
        NVML_FI_DEV_NVLINK_COUNT_XMIT_BYTES as NVLINK_TX_BYTES,
        NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX as NVLINK_RX_KIB,
        NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX as NVLINK_TX_KIB,
        NVML_FI_DEV_PCIE_COUNT_RX_BYTES as PCIE_RX_BYTES, NVML_FI_DEV_PCIE_COUNT_TX_BYTES as PCIE_TX_BYTES,
        NVML_FI_DEV_PCIE_REPLAY_COUNTER as PCIE_REPLAYS, NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION as ENERGY,
    };
}

/// The scope that sums a NVLink counter over all links (`nvml.h` at
/// `NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX`).
pub(crate) const ALL_LINKS: u32 = u32::MAX;

/// Fields to read of one device in one call, and what came back. Kept from tick to tick.
#[derive(Default)]
pub(crate) struct FieldBatch(Vec<nvmlFieldValue_t>);

/// A value as the driver typed it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    /// An unsigned integer of at most 32 bits, which a counter of bytes can overrun.
    Unsigned32(u32),
    Unsigned64(u64),
    Signed(i64),
    Float(f64),
}

impl FieldBatch {
    /// Asks for `id` in `scope` (a link, or [`ALL_LINKS`]; 0 where the field has none).
    pub(crate) fn ask(&mut self, id: u32, scope: u32) {
        self.0.push(nvmlFieldValue_t {
            fieldId: id,
            scopeId: scope,
            timestamp: 0,
            latencyUsec: 0,
            valueType: UNSIGNED_INT,
            nvmlReturn: 0,
            value: nvmlValue_t { ullVal: 0 },
        });
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks for nothing any more.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// What was read for `id` in `scope` by the last [`Session::read_fields`].
    pub(crate) fn get(&self, id: u32, scope: u32) -> Result<Number, NvmlError> {
        let value = self
            .0
            .iter()
            .find(|value| value.fieldId == id && value.scopeId == scope)
            .ok_or(NvmlError::NOT_SUPPORTED)?;
        NvmlError::check(value.nvmlReturn)?;
        Number::of(value.valueType, value.value).ok_or(NvmlError::ARGUMENT_VERSION_MISMATCH)
    }
}

impl Number {
    /// Reads the union by its tag; `None` where the tag is not one of NVML 13.
    pub(super) fn of(kind: nvmlValueType_t, value: nvmlValue_t) -> Option<Self> {
        // SAFETY: every field of the union is a plain number of at most 8 bytes, for which any bit
        // pattern is valid; whoever made it wrote all 8 bytes before the driver wrote its own.
        unsafe {
            Some(match kind {
                DOUBLE => Self::Float(value.dVal),
                UNSIGNED_INT => Self::Unsigned32(value.uiVal),
                UNSIGNED_SHORT => Self::Unsigned32(value.usVal.into()),
                UNSIGNED_LONG => Self::Unsigned64(value.ulVal),
                UNSIGNED_LONG_LONG => Self::Unsigned64(value.ullVal),
                SIGNED_LONG_LONG => Self::Signed(value.sllVal),
                SIGNED_INT => Self::Signed(value.siVal.into()),
                _ => return None,
            })
        }
    }

    /// As a count; `None` where it is negative, not whole or not finite.
    pub(crate) fn unsigned(self) -> Option<u64> {
        match self {
            Self::Unsigned32(value) => Some(value.into()),
            Self::Unsigned64(value) => Some(value),
            Self::Signed(value) => u64::try_from(value).ok(),
            Self::Float(value) if (0.0..9e15).contains(&value) => Some(value as u64),
            Self::Float(_) => None,
        }
    }
}

impl Session {
    /// Reads all that `batch` asks of the device, in one call.
    ///
    /// # Errors
    ///
    /// Of the call as a whole; each field has its own result in the batch.
    pub(crate) fn read_fields(&self, device: Handle, batch: &mut FieldBatch) -> Result<(), NvmlError> {
        if batch.0.is_empty() {
            return Ok(());
        }
        let device = self.own(device)?;
        let function = self.symbols.field_values.ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
        for value in &mut batch.0 {
            // A driver that skips an entry must not leave last tick's value to be taken for a new one.
            value.nvmlReturn = 999;
            value.value = nvmlValue_t { ullVal: 0 };
        }
        let count = c_int::try_from(batch.0.len()).map_err(|_| NvmlError::INVALID_ARGUMENT)?;
        // SAFETY: the array is live and `count` long; NVML writes its elements only.
        NvmlError::check(unsafe { function(device, count, batch.0.as_mut_ptr()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_by_its_tag() {
        let minus_one = nvmlValue_t { ullVal: u64::MAX };
        assert_eq!(
            Number::of(UNSIGNED_INT, minus_one),
            Some(Number::Unsigned32(u32::MAX))
        );
        assert_eq!(
            Number::of(UNSIGNED_SHORT, minus_one),
            Some(Number::Unsigned32(0xffff))
        );
        assert_eq!(
            Number::of(UNSIGNED_LONG_LONG, minus_one),
            Some(Number::Unsigned64(u64::MAX))
        );
        assert_eq!(Number::of(SIGNED_INT, minus_one), Some(Number::Signed(-1)));
        assert_eq!(Number::of(SIGNED_LONG_LONG, minus_one), Some(Number::Signed(-1)));
        assert_eq!(
            Number::of(DOUBLE, nvmlValue_t { dVal: 2.5 }),
            Some(Number::Float(2.5))
        );
        assert_eq!(Number::of(99, minus_one), None);
    }

    #[test]
    fn only_counts_are_counts() {
        assert_eq!(Number::Unsigned32(7).unsigned(), Some(7));
        assert_eq!(Number::Signed(-1).unsigned(), None);
        assert_eq!(Number::Float(12.0).unsigned(), Some(12));
        assert_eq!(Number::Float(f64::NAN).unsigned(), None);
        assert_eq!(Number::Float(-1.0).unsigned(), None);
    }

    #[test]
    fn what_was_not_asked_for_is_not_there() {
        let mut batch = FieldBatch::default();
        batch.ask(field::ENERGY, 0);
        assert_eq!(batch.get(field::PCIE_REPLAYS, 0), Err(NvmlError::NOT_SUPPORTED));
    }
}
