use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::FutureExt;
use kube::Client;
use parking_lot::Mutex;
use rheostat_reading::Clock;
use tokio::sync::watch;

use crate::cluster::WatchGuard;
use crate::health::{Resource, WatchId, WatchState};
use crate::model::Stale;
use crate::objects::EndpointSliceObject;
use crate::watch::{Collection, Event, WatchTiming, follow};

/// One address behind a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceEndpoint {
    /// `address:port`; an IPv6 address stands in brackets.
    pub address: String,
    /// The node that the pod behind it runs on.
    pub node_name: Option<String>,
}

/// The endpoints of a Service as they come and go. Dropping it ends the watch.
#[derive(Debug)]
pub struct EndpointWatch {
    /// Every endpoint, ready or not: whoever dials finds out. Ordered, each address once. While
    /// the API server is away the last ones stay.
    pub endpoints: watch::Receiver<Vec<ServiceEndpoint>>,
    /// How the watch fares.
    pub state: watch::Receiver<WatchState>,
    _guard: WatchGuard,
}

/// Watches the EndpointSlices of `service` in `namespace` for the port named `port_name`.
///
/// Where a Service has IPv4 and IPv6 endpoints, those of IPv4 are taken: both lead to the same
/// pods.
#[must_use]
pub fn watch_endpoints(
    client: Client,
    namespace: &str,
    service: &str,
    port_name: &str,
    timing: WatchTiming,
    clock: Clock,
) -> EndpointWatch {
    let watch = WatchId::new(Resource::EndpointSlices, Some(namespace));
    let labels = Some(format!("kubernetes.io/service-name={service}"));
    let collection = Collection {
        path: watch.path(),
        labels,
    };
    let (endpoints, endpoints_receiver) = watch::channel(Vec::new());
    let (state, state_receiver) = watch::channel(WatchState::Starting { problem: None });
    let slices = Arc::new(Mutex::new(Slices {
        port_name: port_name.to_owned(),
        ..Slices::default()
    }));
    let emit = move |event| {
        take(event, &mut slices.lock(), &endpoints, &state);
        std::future::ready(()).boxed()
    };
    let task = tokio::spawn(follow::<EndpointSliceObject>(
        client, collection, timing, clock, emit,
    ));
    EndpointWatch {
        endpoints: endpoints_receiver,
        state: state_receiver,
        _guard: WatchGuard::new(task),
    }
}

#[derive(Debug, Default)]
struct Slices {
    port_name: String,
    by_name: BTreeMap<String, EndpointSliceObject>,
}

fn take(
    event: Event<EndpointSliceObject>,
    slices: &mut Slices,
    endpoints: &watch::Sender<Vec<ServiceEndpoint>>,
    state: &watch::Sender<WatchState>,
) {
    match event {
        Event::Listed(all) => {
            slices.by_name = all
                .into_iter()
                .map(|slice| (slice.metadata.name.clone(), slice))
                .collect();
            state.send_replace(WatchState::Current);
        }
        Event::Put(slice) => {
            slices.by_name.insert(slice.metadata.name.clone(), slice);
        }
        Event::Gone(slice) => {
            slices.by_name.remove(&slice.metadata.name);
        }
        Event::Current => {
            state.send_replace(WatchState::Current);
            return;
        }
        Event::Broken { since, reason } => {
            state.send_modify(|state| {
                *state = match state {
                    WatchState::Starting { .. } => WatchState::Starting {
                        problem: Some(reason),
                    },
                    _ => WatchState::Broken(Stale { since, reason }),
                };
            });
            return;
        }
        Event::Missing => {
            state.send_replace(WatchState::Missing);
            return;
        }
    }
    let now = slices.endpoints();
    endpoints.send_if_modified(|known| {
        let changed = *known != now;
        if changed {
            *known = now;
        }
        changed
    });
}

impl Slices {
    fn endpoints(&self) -> Vec<ServiceEndpoint> {
        let of_family = |family: &'static str| {
            self.by_name
                .values()
                .filter(move |slice| slice.address_type == family)
        };
        let mut found: BTreeSet<_> = of_family("IPv4").flat_map(|slice| self.of_slice(slice)).collect();
        if found.is_empty() {
            found = of_family("IPv6").flat_map(|slice| self.of_slice(slice)).collect();
        }
        // The same address can stand in two slices for a moment, once with its node.
        let mut by_address = BTreeMap::new();
        for endpoint in found {
            by_address.insert(endpoint.address, endpoint.node_name);
        }
        by_address
            .into_iter()
            .map(|(address, node_name)| ServiceEndpoint { address, node_name })
            .collect()
    }

    fn of_slice<'a>(&'a self, slice: &'a EndpointSliceObject) -> impl Iterator<Item = ServiceEndpoint> + 'a {
        let port = slice
            .ports
            .iter()
            .find(|port| port.name.as_deref().unwrap_or_default() == self.port_name)
            .and_then(|port| port.port);
        slice.endpoints.iter().filter_map(move |endpoint| {
            let (address, port) = (endpoint.addresses.first()?, port?);
            let address = match slice.address_type.as_str() {
                "IPv6" => format!("[{address}]:{port}"),
                _ => format!("{address}:{port}"),
            };
            Some(ServiceEndpoint {
                address,
                node_name: endpoint.node_name.clone(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slices(slices: &[serde_json::Value]) -> Vec<ServiceEndpoint> {
        let by_name = slices.iter().enumerate().map(|(place, slice)| {
            (
                place.to_string(),
                serde_json::from_value::<EndpointSliceObject>(slice.clone()).unwrap(),
            )
        });
        Slices {
            port_name: "grpc".into(),
            by_name: by_name.collect(),
        }
        .endpoints()
    }

    #[test]
    fn each_address_counts_once_with_the_named_port() {
        let slice = |node: Option<&str>| {
            json!({"metadata": {}, "addressType": "IPv4",
                "ports": [{"name": "metrics", "port": 9}, {"name": "grpc", "port": 6001}],
                "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": node}]})
        };
        let found = slices(&[slice(None), slice(Some("node-1"))]);
        assert_eq!(
            found,
            [ServiceEndpoint {
                address: "10.0.0.1:6001".into(),
                node_name: Some("node-1".into())
            }]
        );
    }

    #[test]
    fn one_family_is_enough() {
        let slice = |family: &str, address: &str| {
            json!({"metadata": {}, "addressType": family, "ports": [{"name": "grpc", "port": 6001}],
                "endpoints": [{"addresses": [address]}]})
        };
        let addresses =
            |found: Vec<ServiceEndpoint>| found.into_iter().map(|e| e.address).collect::<Vec<_>>();
        assert_eq!(
            addresses(slices(&[slice("IPv6", "fd00::1"), slice("IPv4", "10.0.0.1")])),
            ["10.0.0.1:6001"]
        );
        assert_eq!(addresses(slices(&[slice("IPv6", "fd00::1")])), ["[fd00::1]:6001"]);
        assert!(
            slices(&[json!({"metadata": {}, "addressType": "IPv4", "ports": null,
            "endpoints": [{"addresses": ["10.0.0.1"]}]})])
            .is_empty()
        );
    }
}
