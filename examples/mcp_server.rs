//! Tools for any program that speaks the Model Context Protocol: a calculator, a clock and the prices of an airline.
//!
//! ```sh
//! cargo run --release --example mcp_server --features mcp              # on stdin and stdout, as clients start it
//! cargo run --release --example mcp_server --features mcp -- --port 8931
//! cargo run --release --example mcp_server --features mcp -- --list
//! ```
//!
//! With `--port` it serves `http://127.0.0.1:PORT/mcp` until it is interrupted; with `--list` it ends with
//! `get_ticket_price: Get the price of a return ticket to the destination city.`
//!
//! Smoke: --list

use anyhow::{Context, Result};
use ropewalk::tools::builtin::{Calculator, Clock};
use ropewalk::tools::mcp::{McpListen, McpServer};
use ropewalk::tools::{ToolSet, tool};
use ropewalk_examples::{Args, desk, models, out};

const USAGE: &str = "\
usage: mcp_server [options]
  --port PORT   serve HTTP on this port of the local machine
  --list        print the tools and end";

/// Get the price of a return ticket to the destination city.
#[tool(effect = read)]
fn get_ticket_price(
    /// Where the customer flies to
    destination_city: String,
) -> String {
    desk::price_of(&destination_city)
}

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(|| {
        let args = Args::parse(USAGE)?;
        models::block_on(example(&args))
    })
}

async fn example(args: &Args) -> Result<()> {
    let tools = ToolSet::new()
        .with(Calculator::new())?
        .with(Clock::new())?
        .with(get_ticket_price)?;
    if args.has("--list") {
        for spec in tools.specs() {
            out!("{}: {}\n", spec.name, spec.description)?;
        }
        return Ok(());
    }
    let server = McpServer::new("ropewalk-example", env!("CARGO_PKG_VERSION"), tools)
        .with_instructions("Prices of tickets, arithmetic and the time.");
    match args.optional::<u16>("--port")? {
        // Standard output belongs to the protocol here.
        None => server.serve_stdio().await?,
        Some(port) => {
            let listener = std::net::TcpListener::bind(("127.0.0.1", port))
                .with_context(|| format!("port {port} cannot be used"))?;
            out!("http://{}/mcp\n", listener.local_addr()?)?;
            server.serve_http(listener, McpListen::new()).await?;
        }
    }
    Ok(())
}
