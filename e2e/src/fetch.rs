//! Pages by HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The longest answer that a test reads.
const LONGEST_ANSWER: u64 = 4 << 20;

/// How long a test waits for an answer.
const LIMIT: Duration = Duration::from_secs(10);

/// The status and the text that `address` answers at `path`.
pub(crate) async fn fetch(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let fetched = tokio::time::timeout(LIMIT, ask(address, path)).await;
    fetched
        .context("no answer within 10 s")
        .and_then(|answer| answer)
        .with_context(|| format!("fetching http://{address}{path}"))
}

async fn ask(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut connection = TcpStream::connect(address).await.context("connecting")?;
    // HTTP/1.0: the server ends the connection after its answer.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: text/plain\r\n\r\n");
    connection.write_all(request.as_bytes()).await.context("asking")?;
    let mut answer = Vec::new();
    connection
        .take(LONGEST_ANSWER)
        .read_to_end(&mut answer)
        .await
        .context("reading the answer")?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status = head.split(' ').nth(1).context("the answer has no status")?;
    let status = status
        .parse()
        .with_context(|| format!("{status:?} is no status"))?;
    Ok((status, body.to_owned()))
}
