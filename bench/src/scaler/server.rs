//! The process that is measured: the real scaler, with a store filled by hand in the API server's
//! place.

use std::net::SocketAddr;

use anyhow::Result;
use rheostat_cluster::Store;
use rheostat_fleet::{AgentEndpoint, Fleet, FleetOptions};
use rheostat_reading::Clock;
use rheostat_scaler::{Inquiries, Scaler, ScalerOptions};
use rheostat_transport::ClientSecurity;
use tokio::sync::watch;

use super::layout::{self, Layout};
use crate::process;

/// Hears the agents' addresses, says its own, and serves until its input ends.
pub(crate) fn serve_scaler(layout: &Layout) -> Result<()> {
    let agents = process::told()?;
    // As `rheostat scaler` makes it.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let end = process::ordered_to_end();
        let (mut writer, store) = Store::new();
        writer.apply_all((0..layout.workloads).map(|number| layout.workload(number)));
        let endpoints = agents
            .into_iter()
            .enumerate()
            .map(|(node, address)| AgentEndpoint {
                address,
                node: Some(layout::node_name(node)),
            })
            .collect();
        let (_endpoints, receiver) = watch::channel(endpoints);
        let clock = Clock::system();
        let fleet = Fleet::start(
            FleetOptions::new(ClientSecurity::Plaintext),
            clock.clone(),
            receiver,
        );
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = ScalerOptions {
            grpc_address: loopback,
            http_address: loopback,
            ..ScalerOptions::plaintext()
        };
        let scaler = Scaler::start(options, clock, store, fleet, Inquiries::default(), end).await?;
        println!("{}\n", scaler.grpc_address());
        scaler.finished().await?;
        Ok(())
    })
}
