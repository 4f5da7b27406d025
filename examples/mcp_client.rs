//! The tools of a server of the Model Context Protocol, and a call of one of them.
//!
//! ```sh
//! cargo run --release --example mcp_client --features mcp
//! cargo run --release --example mcp_client --features mcp -- --command "npx -y @modelcontextprotocol/server-everything" --call echo --arguments '{"message": "hello"}'
//! cargo run --release --example mcp_client --features mcp -- --url http://127.0.0.1:8931/mcp --call calculator --arguments '{"expression": "6*7"}'
//! ```
//!
//! Without options it talks to a server in this program. Prints the server, its tools with what a call of them may
//! change, and the result of the call, at last: `calculator: 42`.
//!
//! Smoke:

use std::process::Command;

use anyhow::{Context, Result, bail};
use ropewalk::core::{Part, ToolCall, ToolContext};
use ropewalk::tools::ToolSet;
use ropewalk::tools::builtin::Calculator;
use ropewalk::tools::mcp::{McpClient, McpOptions, McpServer};
use ropewalk_examples::{Args, models, out};

const USAGE: &str = "\
usage: mcp_client [options]
  --command TEXT    the program to start and its arguments, divided by spaces
  --url URL         the address of a server
  --call NAME       the tool to call
  --arguments JSON  its arguments
  --trust           believe the server when it says that a tool only reads";

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(|| {
        let args = Args::parse(USAGE)?;
        models::block_on(example(&args))
    })
}

async fn example(args: &Args) -> Result<()> {
    let options = McpOptions::new().with_trusted_hints(args.has("--trust"));
    let client = match (args.text("--command"), args.text("--url")) {
        (Some(command), None) => {
            let mut words = command.split_whitespace();
            let mut command = Command::new(words.next().context("--command is empty")?);
            command.args(words);
            McpClient::spawn(command, options).await?
        }
        (None, Some(url)) => McpClient::http(url, options).await?,
        (None, None) => inside(options).await?,
        _ => bail!("--command and --url exclude each other"),
    };
    out!(
        "{} {}, protocol {}\n",
        client.server(),
        client.version(),
        client.protocol()
    )?;
    let tools = client.tool_set().await?;
    for tool in &tools {
        let spec = tool.spec();
        let summary = spec.description.lines().next().unwrap_or("");
        out!("  {} ({:?}): {summary}\n", spec.name, tool.effect())?;
    }
    let name = args
        .text("--call")
        .or(tools.get("calculator").map(|_| "calculator"));
    if let Some(name) = name {
        let arguments = args
            .text("--arguments")
            .unwrap_or(r#"{"expression": "6 * 7"}"#);
        let call = ToolCall::new("call_1", name, arguments);
        let result = tools.answer(&call, &ToolContext::default()).await?;
        out!("{name}{}:", if result.is_error { " failed" } else { "" })?;
        for part in &result.content {
            match part {
                Part::Text { text, .. } => out!(" {text}")?,
                Part::Image(media) => {
                    out!(" [an image, {}]", media.mime.as_deref().unwrap_or("?"))?
                }
                _ => out!(" [something else]")?,
            }
        }
        out!("\n")?;
    }
    client.close().await?;
    Ok(())
}

/// Starts a server in this program and connects to it.
async fn inside(options: McpOptions) -> Result<McpClient> {
    let server = McpServer::new("inside", "1.0", ToolSet::new().with(Calculator::new())?);
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (read, write) = tokio::io::split(theirs);
    tokio::spawn(server.serve(read, write));
    let (read, write) = tokio::io::split(ours);
    Ok(McpClient::connect(read, write, options).await?)
}
