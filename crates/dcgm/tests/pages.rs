//! Pages in the exporter's documented forms.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "tests"
)]

use std::time::Duration;

use proptest::prelude::*;
use rheostat_dcgm::{Attribution, DcgmClaim, DcgmDevice, DcgmPage, PageError, read_page};
use rheostat_reading::{Absent, Quality, Quantity, Readings, Timestamp};

const MIB: f64 = 1024.0 * 1024.0;
const WINDOW: Duration = Duration::from_secs(30);

fn at() -> Timestamp {
    Timestamp::from_unix_nanos(1_000_000_000)
}

fn read(page: &str) -> DcgmPage {
    read_page(page.as_bytes(), at(), WINDOW).unwrap_or_else(|error| panic!("{error}"))
}

fn device<'a>(page: &'a DcgmPage, id: &str) -> &'a DcgmDevice {
    page.devices
        .iter()
        .find(|device| device.id == id)
        .unwrap_or_else(|| panic!("no {id} in {page:?}"))
}

fn claim<'a>(page: &'a DcgmPage, pod: &str) -> &'a DcgmClaim {
    page.claims
        .iter()
        .find(|claim| claim.pod == pod)
        .unwrap_or_else(|| panic!("no {pod} in {page:?}"))
}

fn reason(readings: &Readings, quantity: Quantity) -> String {
    readings.get(quantity).unwrap_err().to_string()
}

/// The exporter's default counters on a GPU with profiling, for one row of labels.
fn default_counters(labels: &str) -> String {
    [
        ("DCGM_FI_DEV_SM_CLOCK", "1980"),
        ("DCGM_FI_DEV_MEM_CLOCK", "2619"),
        ("DCGM_FI_DEV_GPU_TEMP", "61"),
        ("DCGM_FI_DEV_POWER_USAGE", "412.5"),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "123456000"),
        ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "3"),
        ("DCGM_FI_DEV_GPU_UTIL", "95"),
        ("DCGM_FI_DEV_MEM_COPY_UTIL", "40"),
        ("DCGM_FI_DEV_ENC_UTIL", "0"),
        ("DCGM_FI_DEV_XID_ERRORS", "31"),
        ("DCGM_FI_DEV_FB_FREE", "16000"),
        ("DCGM_FI_DEV_FB_USED", "64000"),
        ("DCGM_FI_DEV_FB_RESERVED", "1000"),
        ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "0.93"),
        ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "0.25"),
        ("DCGM_FI_PROF_DRAM_ACTIVE", "0.5"),
        ("DCGM_FI_PROF_PCIE_TX_BYTES", "1000000"),
        ("DCGM_FI_PROF_PCIE_RX_BYTES", "2000000"),
    ]
    .into_iter()
    .map(|(name, value)| format!("# TYPE {name} gauge\n{name}{{{labels}}} {value}\n"))
    .collect()
}

const GPU_0: &str = r#"gpu="0",UUID="GPU-a",pci_bus_id="00000000:1B:00.0",device="nvidia0",modelName="NVIDIA H100",Hostname="node-1",DCGM_FI_DRIVER_VERSION="580.1""#;

#[test]
fn a_gpu_of_one_pod() {
    let held = format!(r#"{GPU_0},container="server",namespace="team-a",pod="llm-0""#);
    let idle = r#"gpu="1",UUID="GPU-b",device="nvidia1",modelName="NVIDIA H100",hostname="node-1""#;
    let page = read(&format!(
        "{}DCGM_FI_DEV_GPU_UTIL{{{idle}}} 0\n",
        default_counters(&held)
    ));
    assert_eq!(page.attribution, Attribution::Known);
    assert_eq!(
        (page.hostname.as_deref(), page.driver_version.as_deref()),
        (Some("node-1"), Some("580.1"))
    );
    assert_eq!((page.devices.len(), page.malformed), (2, 0));

    let gpu = &page.devices[0];
    assert_eq!(
        (gpu.id.as_str(), gpu.index, gpu.model.as_str()),
        ("GPU-a", 0, "NVIDIA H100")
    );
    assert_eq!(
        (gpu.pci_bus_id.as_str(), gpu.partitioned, gpu.last_xid),
        ("00000000:1B:00.0", false, Some(31))
    );
    for (quantity, value) in [
        (Quantity::Utilization, 0.95),
        (Quantity::MemoryBandwidth, 0.5),
        (Quantity::TensorActive, 0.25),
        (Quantity::MemoryUsedBytes, 64000.0 * MIB),
        (Quantity::MemoryFreeBytes, 16000.0 * MIB),
        (Quantity::MemoryReservedBytes, 1000.0 * MIB),
        (Quantity::MemoryTotalBytes, 81000.0 * MIB),
        (Quantity::MemoryUsedPercent, 64.0 / 81.0),
        (Quantity::Power, 412.5),
        (Quantity::Energy, 123_456.0),
        (Quantity::Temperature, 61.0),
        (Quantity::SmClock, 1.98e9),
        (Quantity::PcieTx, 1e6),
        (Quantity::PcieRx, 2e6),
        (Quantity::PcieReplays, 3.0),
        (Quantity::EncoderUtilization, 0.0),
    ] {
        assert_eq!(gpu.readings.value(quantity), Some(value), "{quantity}");
    }
    let utilization = gpu.readings.get(Quantity::Utilization).unwrap();
    assert_eq!(
        (utilization.at, utilization.window, utilization.quality),
        (at(), WINDOW, Quality::Measured)
    );
    assert_eq!(gpu.readings.get(Quantity::Power).unwrap().window, Duration::ZERO);
    assert_eq!(
        gpu.readings.get(Quantity::MemoryUsedPercent).unwrap().quality,
        Quality::Derived
    );

    let [held] = &page.claims[..] else {
        panic!("{:?}", page.claims)
    };
    assert_eq!(
        (
            held.namespace.as_str(),
            held.pod.as_str(),
            held.container.as_str()
        ),
        ("team-a", "llm-0", "server")
    );
    assert_eq!(
        (held.device.as_str(), held.shared, held.share.is_empty()),
        ("GPU-a", false, true)
    );
}

#[test]
fn what_the_page_does_not_show_is_absent_with_the_counters_name() {
    let page = read(&format!(
        "DCGM_FI_DEV_FB_FREE{{{GPU_0}}} 10\nDCGM_FI_PROF_GR_ENGINE_ACTIVE{{{GPU_0}}} 0.5\n"
    ));
    let readings = &page.devices[0].readings;
    for &quantity in Quantity::ALL {
        let is_there = matches!(quantity, Quantity::MemoryFreeBytes | Quantity::Utilization);
        assert_eq!(readings.get(quantity).is_ok(), is_there, "{quantity}");
    }
    assert!(
        reason(readings, Quantity::SmActive).ends_with("dcgm-exporter does not show DCGM_FI_PROF_SM_ACTIVE")
    );
    assert!(reason(readings, Quantity::MemoryUsedPercent).ends_with("DCGM_FI_DEV_FB_USED"));
    assert_eq!(readings.get(Quantity::DutyCycle), Err(&Absent::NotSupported));
    // Without GPU_UTIL, the engines' activity stands for it, and says so.
    assert_eq!(
        readings.get(Quantity::Utilization).unwrap().quality,
        Quality::Derived
    );
    // Used and free without what is reserved: an estimate.
    let page = read(&format!(
        "DCGM_FI_DEV_FB_FREE{{{GPU_0}}} 30\nDCGM_FI_DEV_FB_USED{{{GPU_0}}} 10\n"
    ));
    let percent = page.devices[0].readings.get(Quantity::MemoryUsedPercent).unwrap();
    assert_eq!(
        (percent.amount.value(), percent.quality),
        (0.25, Quality::Estimated)
    );
}

#[test]
fn dcgms_blanks_and_nonsense_are_no_numbers() {
    for (name, quantity, value) in [
        ("DCGM_FI_DEV_GPU_UTIL", Quantity::Utilization, "2147483632"),
        ("DCGM_FI_DEV_GPU_UTIL", Quantity::Utilization, "NaN"),
        ("DCGM_FI_DEV_GPU_UTIL", Quantity::Utilization, "-1"),
        ("DCGM_FI_PROF_SM_ACTIVE", Quantity::SmActive, "140737488355328"),
        ("DCGM_FI_DEV_FB_USED", Quantity::MemoryUsedBytes, "2147483632"),
        ("DCGM_FI_DEV_POWER_USAGE", Quantity::Power, "140737488355328"),
        ("DCGM_FI_DEV_GPU_TEMP", Quantity::Temperature, "2147483634"),
        (
            "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
            Quantity::Energy,
            "9223372036854775792",
        ),
        (
            "DCGM_FI_DEV_PCIE_REPLAY_COUNTER",
            Quantity::PcieReplays,
            "2147483632",
        ),
        ("DCGM_FI_DEV_POWER_USAGE", Quantity::Power, "+Inf"),
    ] {
        let page = read(&format!(
            "{name}{{{GPU_0}}} {value}\nDCGM_FI_DEV_XID_ERRORS{{{GPU_0}}} 2147483632\n"
        ));
        let reason = reason(&page.devices[0].readings, quantity);
        assert!(
            reason.contains("dcgm-exporter reports") && reason.contains(name),
            "{reason}"
        );
        assert_eq!(page.devices[0].last_xid, None);
    }
    let page = read(&format!("DCGM_FI_DEV_GPU_UTIL{{{GPU_0}}} 100.4\n"));
    assert_eq!(
        page.devices[0].readings.value(Quantity::Utilization),
        Some(1.0),
        "rounding"
    );
}

#[test]
fn mig_instances_have_their_own_activity_and_their_gpus_sensors() {
    let instance = |id: u32, profile: &str, pod: &str| {
        format!(
            r#"gpu="2",UUID="GPU-m",device="nvidia2",modelName="NVIDIA A100",GPU_I_PROFILE="{profile}",GPU_I_ID="{id}",Hostname="node-1",container="c",namespace="team-a",pod="{pod}""#
        )
    };
    let (one, two) = (instance(9, "1g.10gb", "small"), instance(1, "3g.40gb", "large"));
    let mut text = String::new();
    for (labels, active, used) in [(&one, "0.07", "2048"), (&two, "0.6", "30000")] {
        text += &format!(
            "DCGM_FI_DEV_GPU_UTIL{{{labels}}} 0\nDCGM_FI_PROF_GR_ENGINE_ACTIVE{{{labels}}} {active}\nDCGM_FI_DEV_FB_USED{{{labels}}} {used}\n\
             DCGM_FI_DEV_FB_FREE{{{labels}}} 100\nDCGM_FI_DEV_FB_RESERVED{{{labels}}} 100\nDCGM_FI_DEV_POWER_USAGE{{{labels}}} 250\n\
             DCGM_FI_DEV_MEM_COPY_UTIL{{{labels}}} 0\nDCGM_FI_DEV_XID_ERRORS{{{labels}}} 0\n"
        );
    }
    let page = read(&text);
    let ids: Vec<&str> = page.devices.iter().map(|device| device.id.as_str()).collect();
    assert_eq!(ids, ["GPU-m", "GPU-m/gi1", "GPU-m/gi9"]);
    let gpu = device(&page, "GPU-m");
    assert!(gpu.partitioned && gpu.parent.is_none() && gpu.profile.is_none());
    assert_eq!((gpu.index, gpu.last_xid), (2, Some(0)));
    assert_eq!(gpu.readings.value(Quantity::Power), Some(250.0));
    assert!(
        gpu.readings.get(Quantity::Utilization).is_err(),
        "no row speaks of the whole GPU"
    );
    let small = device(&page, "GPU-m/gi9");
    assert_eq!(
        (small.parent.as_deref(), small.profile.as_deref(), small.index),
        (Some("GPU-m"), Some("1g.10gb"), 9)
    );
    assert_eq!(
        small.readings.value(Quantity::Utilization),
        Some(0.07),
        "not GPU_UTIL's 0"
    );
    assert_eq!(
        small.readings.value(Quantity::MemoryUsedBytes),
        Some(2048.0 * MIB)
    );
    assert!(
        small.readings.get(Quantity::MemoryBandwidth).is_err(),
        "not MEM_COPY_UTIL's 0"
    );
    for quantity in [Quantity::Power, Quantity::Temperature, Quantity::PcieTx] {
        assert_eq!(
            small.readings.get(quantity),
            Err(&Absent::NotSupported),
            "the GPU's, not the instance's"
        );
    }
    assert_eq!(claim(&page, "small").device, "GPU-m/gi9");
    assert_eq!(claim(&page, "large").device, "GPU-m/gi1");
    assert_eq!(page.claims.len(), 2, "nobody holds the GPU itself");
    assert!(page.claims.iter().all(|claim| !claim.shared));
}

#[test]
fn repeated_values_of_a_shared_gpu_are_nobodys_own() {
    let replica =
        |number: u32| format!(r#"{GPU_0},vgpu="{number}",container="c",namespace="team-b",pod="p-{number}""#);
    let page = read(
        &(0..3)
            .map(|number| default_counters(&replica(number)))
            .collect::<String>(),
    );
    assert_eq!((page.devices.len(), page.claims.len()), (1, 3));
    assert_eq!(
        page.devices[0].readings.value(Quantity::Utilization),
        Some(0.95),
        "once, not three times"
    );
    assert_eq!(
        page.devices[0].readings.value(Quantity::MemoryUsedBytes),
        Some(64000.0 * MIB)
    );
    for (number, claim) in page.claims.iter().enumerate() {
        assert!(claim.shared && claim.share.is_empty());
        assert_eq!(claim.replica, Some(number.to_string()));
    }
    // Two containers of one pod, or two replicas, share with nobody.
    let own = |container: &str, replica: u32| {
        default_counters(&format!(
            r#"{GPU_0},vgpu="{replica}",container="{container}",namespace="team-b",pod="p""#
        ))
    };
    let page = read(&(own("a", 0) + &own("b", 1)));
    assert_eq!(page.claims.len(), 2);
    assert!(page.claims.iter().all(|claim| !claim.shared));
}

#[test]
fn processes_tell_the_parts_of_a_shared_gpu() {
    let pod = |name: &str| format!(r#"{GPU_0},container="c",namespace="team-b",pod="{name}""#);
    let (busy, idle) = (pod("busy"), pod("idle"));
    let page = read(&format!(
        "DCGM_FI_DEV_GPU_UTIL{{{busy}}} 60\nDCGM_FI_DEV_GPU_UTIL{{{idle}}} 0\nDCGM_FI_DEV_FB_USED{{{busy}}} 3000\nDCGM_FI_DEV_FB_USED{{{idle}}} 1000\n\
         DCGM_FI_DEV_FB_FREE{{{busy}}} 4000\nDCGM_FI_DEV_FB_FREE{{{idle}}} 4000\nDCGM_FI_DEV_POWER_USAGE{{{busy}}} 300\nDCGM_FI_DEV_POWER_USAGE{{{idle}}} 300\n\
         DCGM_FI_DEV_GPU_TEMP{{{busy}}} 50\nDCGM_FI_DEV_GPU_TEMP{{{idle}}} 50\n"
    ));
    let gpu = &page.devices[0].readings;
    assert_eq!(gpu.value(Quantity::Utilization), Some(0.6));
    assert_eq!(gpu.value(Quantity::MemoryUsedBytes), Some(4000.0 * MIB));
    assert_eq!(
        gpu.get(Quantity::Utilization).unwrap().quality,
        Quality::Estimated
    );
    let share = &claim(&page, "busy").share;
    assert_eq!(share.value(Quantity::Utilization), Some(0.6));
    assert_eq!(share.value(Quantity::MemoryUsedPercent), Some(3000.0 / 8000.0));
    assert_eq!(share.value(Quantity::Temperature), Some(50.0));
    assert_eq!(share.get(Quantity::Power), Err(&Absent::Unattributable));
    assert_eq!(
        share.get(Quantity::Utilization).unwrap().quality,
        Quality::Estimated
    );
    let share = &claim(&page, "idle").share;
    assert_eq!(
        share.value(Quantity::Utilization),
        Some(0.0),
        "the exporter says so itself"
    );
    assert_eq!(share.value(Quantity::MemoryUsedBytes), Some(1000.0 * MIB));
}

#[test]
fn pods_are_named_in_many_ways() {
    let with = |labels: &str| read(&format!("DCGM_FI_DEV_GPU_UTIL{{{GPU_0},{labels}}} 5\n"));
    for labels in [
        r#"namespace="ns",pod="p",container="c""#,
        r#"pod_namespace="ns",pod_name="p",container_name="c""#,
        r#"kubernetes_namespace="ns",kubernetes_pod_name="p",kubernetes_container_name="c""#,
        r#"namespace="monitoring",pod="exporter",container="exporter",exported_namespace="ns",exported_pod="p",exported_container="c""#,
    ] {
        let page = with(labels);
        let [claim] = &page.claims[..] else {
            panic!("{labels}: {page:?}")
        };
        assert_eq!(
            (
                claim.namespace.as_str(),
                claim.pod.as_str(),
                claim.container.as_str()
            ),
            ("ns", "p", "c")
        );
    }
    for labels in [r#"namespace="",pod="",container="""#, r#"x="y""#, r#"pod="p""#] {
        let page = with(labels);
        assert_eq!(
            (page.claims.len(), page.attribution),
            (0, Attribution::NoPods),
            "{labels}"
        );
    }
    // On a re-exposed page, `pod` is the exporter's own, also where nobody holds the GPU.
    let page = read(&format!(
        "DCGM_FI_DEV_GPU_UTIL{{{GPU_0},pod=\"exporter\",namespace=\"m\",exported_pod=\"p\",exported_namespace=\"ns\"}} 5\n\
         DCGM_FI_DEV_GPU_UTIL{{gpu=\"1\",UUID=\"GPU-b\",pod=\"exporter\",namespace=\"m\"}} 5\n"
    ));
    assert_eq!(page.claims.len(), 1);
    assert_eq!(page.claims[0].pod, "p");
}

#[test]
fn the_old_namespace_is_read() {
    let labels =
        r#"gpu="0",uuid="GPU-a",device="nvidia0",pod_name="p",pod_namespace="ns",container_name="c""#;
    let page = read(&format!(
        "dcgm_gpu_utilization{{{labels}}} 44\ndcgm_fb_used{{{labels}}} 10\ndcgm_fb_free{{{labels}}} 30\ndcgm_power_usage{{{labels}}} 30.982\n\
         dcgm_sm_clock{{{labels}}} 585\ndcgm_total_energy_consumption{{{labels}}} 5000\ndcgm_fi_prof_gr_engine_active{{{labels}}} 0.1\n"
    ));
    let readings = &page.devices[0].readings;
    for (quantity, value) in [
        (Quantity::Utilization, 0.44),
        (Quantity::Power, 30.982),
        (Quantity::SmClock, 5.85e8),
        (Quantity::Energy, 5.0),
    ] {
        assert_eq!(readings.value(quantity), Some(value));
    }
    assert_eq!(claim(&page, "p").namespace, "ns");
}

#[test]
fn switches_links_and_other_families_are_no_devices() {
    let page = read(&format!(
        "DCGM_FI_DEV_GPU_UTIL{{{GPU_0}}} 5\nDCGM_FI_DEV_GPU_TEMP{{nvswitch=\"nvswitch0\",Hostname=\"node-1\"}} 40\n\
         DCGM_FI_DEV_POWER_USAGE{{cpu=\"0\"}} 100\nDCGM_FI_DEV_GPU_TEMP{{UUID=\"GPU-a\",GPU_I_ID=\"x\"}} 5\ngo_goroutines 9\n"
    ));
    assert_eq!((page.devices.len(), page.malformed), (1, 3));
}

#[test]
fn a_page_that_is_none_is_refused_whole() {
    let page = |text: &str| read_page(text.as_bytes(), at(), WINDOW);
    assert!(matches!(page("<html>404</html>"), Err(PageError::Unreadable(_))));
    assert!(matches!(page(""), Err(PageError::NotDcgm)));
    assert!(matches!(page("up 1\n"), Err(PageError::NotDcgm)));
    let whole = default_counters(GPU_0);
    let cut = &whole[..whole.len() - 9];
    assert!(
        matches!(page(cut), Err(PageError::Unreadable(_))),
        "who else holds it may be missing"
    );
    let bad_line = format!("{whole}DCGM_FI_DEV_GPU_UTIL{{oops 3\n");
    assert_eq!(page(&bad_line).unwrap().malformed, 1);
    let many: String = (0..600)
        .map(|number| format!("DCGM_FI_DEV_GPU_UTIL{{UUID=\"GPU-{number}\"}} 1\n"))
        .collect();
    assert!(matches!(
        page(&many),
        Err(PageError::TooMany { what: "devices", .. })
    ));
    let many: String = (0..9000)
        .map(|number| format!("DCGM_FI_DEV_GPU_UTIL{{UUID=\"G\",pod=\"{number}\",namespace=\"n\"}} 1\n"))
        .collect();
    assert!(matches!(page(&many), Err(PageError::TooMany { .. })));
}

proptest! {
    /// Whatever a page says, each number on it that is possible is read back in base units, and nothing
    /// that is not on it is a number.
    #[test]
    fn utilisation_is_what_was_written(util in 0u32..=100, used in 0u32..100_000, free in 0u32..100_000) {
        let page = read(&format!("DCGM_FI_DEV_GPU_UTIL{{{GPU_0}}} {util}\nDCGM_FI_DEV_FB_USED{{{GPU_0}}} {used}\nDCGM_FI_DEV_FB_FREE{{{GPU_0}}} {free}\n"));
        let readings = &page.devices[0].readings;
        prop_assert_eq!(readings.value(Quantity::Utilization), Some(f64::from(util) / 100.0));
        prop_assert_eq!(readings.value(Quantity::MemoryUsedBytes), Some(f64::from(used) * MIB));
        let sum = used + free;
        prop_assert_eq!(readings.value(Quantity::MemoryUsedPercent).is_some(), sum > 0);
        prop_assert!(readings.get(Quantity::Power).is_err());
    }

    #[test]
    fn any_bytes_get_an_answer(page in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_page(&page, at(), WINDOW);
    }
}
