//! What stands in front of a workload and tells how many requests wait there, as an endpoint picker of the Gateway
//! API's inference extension does.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Its page of metrics, and nothing else of a gateway.
pub(crate) struct Gateway {
    address: SocketAddr,
    waiting: Rc<Cell<u32>>,
    task: JoinHandle<()>,
}

impl Gateway {
    /// One for the pool `pool` that holds nobody yet.
    pub(crate) async fn start(address: SocketAddr, pool: &str) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listening on {address}"))?;
        let waiting = Rc::new(Cell::new(0));
        let (shown, pool) = (Rc::clone(&waiting), pool.to_owned());
        let task = tokio::task::spawn_local(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let page = format!(
                    "# TYPE inference_extension_flow_control_queue_size gauge\n\
                     inference_extension_flow_control_queue_size{{inference_pool=\"{pool}\",priority=\"0\"}} {}\n",
                    shown.get()
                );
                // Whoever asked and went away is no concern of the next one.
                drop(tokio::task::spawn_local(answer(connection, page)));
            }
        });
        Ok(Self {
            address,
            waiting,
            task,
        })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// So many requests wait from now on.
    pub(crate) fn hold(&self, requests: u32) {
        self.waiting.set(requests);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One page for each connection, whatever is asked for.
async fn answer(mut connection: TcpStream, page: String) -> Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && request.len() < 16 * 1024 {
        if connection.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        page.len()
    );
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(page.as_bytes()).await?;
    Ok(connection.shutdown().await?)
}
