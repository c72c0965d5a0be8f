use std::time::Duration;

use rheostat_reading::{Absent, Quantity};

use super::GpuReader;
use crate::nvml::{NvmlError, Session, field};
use crate::sheet::Sheet;
use crate::traffic::PcieCounters;

impl GpuReader {
    /// All that is counted: one call for most, the single calls for what the driver has no field for.
    pub(super) fn read_counters(
        &mut self,
        sheet: &mut Sheet,
        session: &Session,
        clock: &rheostat_reading::Clock,
    ) {
        let gpu = self.handle;
        let batch = &mut self.batch;
        batch.clear();
        for id in [
            field::ENERGY,
            field::ECC_CORRECTED,
            field::ECC_UNCORRECTED,
            field::PCIE_REPLAYS,
        ] {
            batch.ask(id, 0);
        }
        PcieCounters::ask(batch);
        self.nvlink.ask(batch);
        let whole = session.read_fields(gpu, batch);
        let at = clock.now();
        let field = |id, scope| whole.and_then(|()| batch.get(id, scope));
        let counter = |id, call: &dyn Fn() -> Result<u64, NvmlError>| match field(id, 0) {
            Ok(number) => number.unsigned().ok_or(NvmlError::ARGUMENT_VERSION_MISMATCH),
            Err(error) if error.is_unsupported() || error == NvmlError::INVALID_ARGUMENT => call(),
            Err(error) => Err(error),
        };
        let joules =
            counter(field::ENERGY, &|| session.energy(gpu)).map(|millijoules| millijoules as f64 / 1000.0);
        sheet.measured(Quantity::Energy, joules, at, Duration::ZERO);
        for (quantity, count) in [
            (
                Quantity::EccCorrected,
                counter(field::ECC_CORRECTED, &|| session.ecc_errors(gpu, true)),
            ),
            (
                Quantity::EccUncorrected,
                counter(field::ECC_UNCORRECTED, &|| session.ecc_errors(gpu, false)),
            ),
            (
                Quantity::PcieReplays,
                counter(field::PCIE_REPLAYS, &|| session.pcie_replays(gpu).map(u64::from)),
            ),
        ] {
            sheet.measured(quantity, count.map(|count| count as f64), at, Duration::ZERO);
        }
        let gpm = &self.gpm[0];
        let pcie = self.pcie.read(field, at);
        let of_gpm = (gpm.get(Quantity::PcieTx), gpm.get(Quantity::PcieRx));
        // What only the slow lane can tell is put in its place by the fast lane.
        self.wants_slow_pcie = pcie.is_none() && !matches!(of_gpm, (Ok(_) | Err(Absent::NotYet), _));
        let (tx, rx) = pcie.unwrap_or(if self.wants_slow_pcie {
            (Err(Absent::NotYet), Err(Absent::NotYet))
        } else {
            of_gpm
        });
        sheet.set(Quantity::PcieTx, tx);
        sheet.set(Quantity::PcieRx, rx);
        let nvlink = self.nvlink.read(field, at);
        let (tx, rx) = nvlink.unwrap_or_else(|| (gpm.get(Quantity::NvlinkTx), gpm.get(Quantity::NvlinkRx)));
        sheet.set(Quantity::NvlinkTx, tx);
        sheet.set(Quantity::NvlinkRx, rx);
    }
}
