//! Our client and our server, in this process: over streams, over HTTP, and each against a double.

use std::collections::HashMap;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ropewalk_core::testing::{self, ToolSuite};
use ropewalk_core::{
    Effect, Error, ErrorKind, Extensions, Media, Part, Tool, ToolCall, ToolContext, ToolError,
    ToolOutput, ToolSpec, Trust, async_trait,
};
use ropewalk_http::testing::{Canned, Double};
use ropewalk_tools::ToolSet;
use ropewalk_tools::builtin::Calculator;
use ropewalk_tools::mcp::{McpClient, McpListen, McpOptions, McpProtocol, McpServer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::task::JoinHandle;

type Act = fn(&str, &ToolContext) -> Result<ToolOutput, ToolError>;

/// A tool of any effect that does what it is told.
struct Fixed(ToolSpec, Effect, Act);

impl Fixed {
    fn new(name: &str, effect: Effect, act: Act) -> Self {
        let schema = json!({"type": "object", "properties": {"x": {"type": "integer"}}});
        let spec = ToolSpec::new(name, "Does it.", schema.try_into().unwrap());
        Self(spec, effect, act)
    }
}

#[async_trait]
impl Tool for Fixed {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn effect(&self) -> Effect {
        self.1
    }

    async fn call(&self, arguments: &str, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        if self.0.name == "hang" {
            std::future::pending::<()>().await;
        }
        (self.2)(arguments, context)
    }
}

fn parts(_: &str, _: &ToolContext) -> Result<ToolOutput, ToolError> {
    let document = Media::bytes(vec![37, 80], "application/pdf").with_name("a.pdf");
    let mut output = ToolOutput::from(vec![
        Part::text("one"),
        Part::Image(Media::bytes(vec![1, 2, 3], "image/png")),
        Part::Audio(Media::bytes(vec![4], "audio/wav")),
        Part::Document(document),
        Part::Image(Media::url("https://a.test/x.png")),
    ]);
    output.structured = Some(json!({"n": 1}));
    Ok(output)
}

fn tools() -> ToolSet {
    let text: Act = |arguments, context| {
        let greeting = context
            .extensions
            .get::<&str>()
            .copied()
            .unwrap_or("no greeting");
        Ok(ToolOutput::text(format!("{greeting} {arguments}")).trusted())
    };
    ToolSet::of([
        Arc::new(Calculator::new()) as Arc<dyn Tool>,
        Arc::new(Fixed::new("write", Effect::Write, text)),
        Arc::new(Fixed::new("pay", Effect::Pay, |_, _| {
            Ok(ToolOutput::error("no money"))
        })),
        Arc::new(Fixed::new("unknown", Effect::Unknown, parts)),
        Arc::new(Fixed::new("fatal", Effect::External, |_, _| {
            Err(ToolError::Fatal("secret cause".into()))
        })),
        Arc::new(Fixed::new("panic", Effect::Read, |_, _| {
            panic!("secret panic")
        })),
        Arc::new(Fixed::new("hang", Effect::Read, text)),
    ])
    .unwrap()
}

fn server() -> McpServer {
    let mut extensions = Extensions::default();
    extensions.insert("hello");
    let server = McpServer::new("test", "1.2.3", tools()).with_extensions(extensions);
    server.with_instructions("Be gentle.")
}

async fn over_streams(options: McpOptions) -> (McpClient, JoinHandle<Result<(), Error>>) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (read, write) = tokio::io::split(theirs);
    let serving = tokio::spawn(server().serve(read, write));
    let (read, write) = tokio::io::split(ours);
    (
        McpClient::connect(read, write, options).await.unwrap(),
        serving,
    )
}

async fn call(tools: &ToolSet, name: &str, arguments: &str) -> (String, bool) {
    let call = ToolCall::new("c1", name, arguments);
    let result = tools.answer(&call, &ToolContext::default()).await.unwrap();
    assert_eq!(result.trust, Trust::Untrusted);
    (result.text(), result.is_error)
}

/// What a client sees of the tools above, over whatever transport.
async fn check(client: &McpClient) {
    assert_eq!((client.server(), client.version()), ("test", "1.2.3"));
    assert_eq!(client.instructions(), Some("Be gentle."));
    let tools = client.tool_set().await.unwrap();
    assert_eq!(
        tools.names(),
        [
            "calculator",
            "write",
            "pay",
            "unknown",
            "fatal",
            "panic",
            "hang"
        ]
        .map(|n| format!("t_{n}"))
    );
    let effects: HashMap<_, _> = tools
        .names()
        .into_iter()
        .map(|n| (n.clone(), tools.effect(&n).unwrap()))
        .collect();
    assert_eq!(effects["t_calculator"], Effect::Read);
    assert_eq!(effects["t_write"], Effect::Write);
    assert_eq!(effects["t_pay"], Effect::External);
    assert_eq!(effects["t_unknown"], Effect::Unknown);
    let spec = tools.get("t_calculator").unwrap().spec();
    assert_eq!(spec.description, Calculator::new().spec().description);
    assert_eq!(spec.parameters, Calculator::new().spec().parameters);

    assert_eq!(
        call(&tools, "t_calculator", r#"{"expression": "2^10"}"#).await,
        ("1024".into(), false)
    );
    assert_eq!(
        call(&tools, "t_calculator", r#"{"expression": "1/0"}"#).await,
        ("at character 2: division by zero".into(), true)
    );
    let (text, wrong) = call(&tools, "t_calculator", "{}").await;
    assert!(
        wrong && text == "invalid arguments for `t_calculator`: missing field `expression`",
        "{text}"
    );
    for (name, arguments) in [
        ("t_calculator", r#"{"expression": "1"}"#),
        ("t_write", "{}"),
    ] {
        let suite = ToolSuite::new(arguments);
        let report = testing::tool(tools.get(name).unwrap(), &suite).await;
        report.into_result().unwrap();
    }
    assert_eq!(
        call(&tools, "t_write", r#"{"x": 5}"#).await,
        (r#"hello {"x":5}"#.into(), false)
    );
    assert_eq!(
        call(&tools, "t_write", "").await,
        ("hello {}".into(), false)
    );
    assert_eq!(call(&tools, "t_pay", "{}").await, ("no money".into(), true));
    for broken in ["fatal", "panic"] {
        let (text, wrong) = call(&tools, &format!("t_{broken}"), "{}").await;
        assert_eq!(
            (text, wrong),
            (format!("the tool \"{broken}\" broke"), true)
        );
    }
    let output = tools
        .get("t_unknown")
        .unwrap()
        .call("{}", &ToolContext::default())
        .await
        .unwrap();
    assert_eq!(output.structured, Some(json!({"n": 1})));
    assert_eq!(
        output.content,
        [
            Part::text("one"),
            Part::Image(Media::bytes(vec![1, 2, 3], "image/png")),
            Part::Audio(Media::bytes(vec![4], "audio/wav")),
            Part::Document(Media::bytes(vec![37, 80], "application/pdf")),
            Part::text("[https://a.test/x.png]"),
        ]
    );
}

fn options() -> McpOptions {
    McpOptions::new().with_prefix("t").with_trusted_hints(true)
}

#[tokio::test]
async fn both_sides_over_streams() {
    for (protocol, version) in [
        (McpProtocol::Auto, "2026-07-28"),
        (McpProtocol::Stateless, "2026-07-28"),
        (McpProtocol::Handshake, "2025-11-25"),
    ] {
        let (client, serving) = over_streams(options().with_protocol(protocol)).await;
        assert_eq!(client.protocol(), version);
        check(&client).await;
        let tools = client.tool_set().await.unwrap();
        client.close().await.unwrap();
        serving.await.unwrap().unwrap();
        let (text, wrong) = call(&tools, "t_write", "{}").await;
        assert!(
            wrong && text.starts_with("the MCP server \"test\": "),
            "{text}"
        );
        assert_eq!(
            client.tools().await.err().unwrap().kind(),
            ErrorKind::Connection
        );
    }
}

#[tokio::test]
async fn calls_end_in_time() {
    let (client, _serving) =
        over_streams(options().with_call_timeout(Duration::from_millis(50))).await;
    let tools = client.tool_set().await.unwrap();
    let (text, wrong) = call(&tools, "t_hang", "{}").await;
    assert_eq!(
        (text.as_str(), wrong),
        ("the MCP server \"test\" gave no result within 0.05 s", true)
    );
    assert_eq!(
        call(&tools, "t_calculator", r#"{"expression": "1"}"#)
            .await
            .0,
        "1"
    );
    // The tools alone keep the connection.
    drop(client);
    assert_eq!(
        call(&tools, "t_calculator", r#"{"expression": "2"}"#)
            .await
            .0,
        "2"
    );
}

#[tokio::test]
async fn both_sides_over_http() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listen = McpListen::new()
        .with_path("/tools")
        .with_token("secret-token-1");
    assert!(!format!("{listen:?}").contains("secret"));
    let serving = tokio::spawn(server().serve_http(listener, listen));
    let url = format!("http://{address}/tools");
    for (protocol, version) in [
        (McpProtocol::Auto, "2026-07-28"),
        (McpProtocol::Stateless, "2026-07-28"),
        (McpProtocol::Handshake, "2025-11-25"),
    ] {
        let options = options()
            .with_protocol(protocol)
            .with_token("secret-token-1");
        assert!(!format!("{options:?}").contains("secret"));
        let client = McpClient::http(&url, options).await.unwrap();
        assert_eq!(client.protocol(), version);
        check(&client).await;
        client.close().await.unwrap();
    }
    for bad in [
        options(),
        options().with_token("secret-token-2"),
        options().with_token("secret"),
    ] {
        let error = McpClient::http(&url, bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
        assert!(
            !format!("{error} {error:?}").contains("secret"),
            "{error:?}"
        );
    }
    let lost = options().with_token("secret-token-1");
    let error = McpClient::http(&format!("http://{address}/elsewhere"), lost)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    serving.abort();
}

#[tokio::test]
async fn strangers_are_kept_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(server().serve_http(listener, McpListen::new()));
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    let status = |headers: String| {
        let request = format!(
            "POST /mcp HTTP/1.1\r\ncontent-type: application/json\r\nconnection: close\r\n\
             accept: application/json, text/event-stream\r\ncontent-length: {}\r\n{headers}\r\n\r\n{body}",
            body.len()
        );
        async move {
            let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
            socket.write_all(request.as_bytes()).await.unwrap();
            let mut line = String::new();
            BufReader::new(socket).read_line(&mut line).await.unwrap();
            line[9..12].to_owned()
        }
    };
    assert_eq!(status(format!("host: {address}")).await, "200");
    assert_eq!(status("host: evil.test".into()).await, "403");
    assert_eq!(
        status(format!("host: {address}\r\norigin: http://evil.test")).await,
        "403"
    );
    serving.abort();
}

/// A server that answers each line by a function; `None` gives no answer.
fn scripted(answer: fn(&Value) -> Option<Value>) -> (DuplexStream, JoinHandle<Vec<Value>>) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let serving = tokio::spawn(async move {
        let (read, mut write) = tokio::io::split(theirs);
        let mut lines = BufReader::new(read).lines();
        let mut seen = Vec::new();
        while let Ok(Some(line)) = lines.next_line().await {
            let request: Value = serde_json::from_str(&line).unwrap();
            if let (Some(mut reply), Some(id)) = (answer(&request), request.get("id")) {
                reply["jsonrpc"] = json!("2.0");
                reply["id"] = id.clone();
                write
                    .write_all(format!("{reply}\n").as_bytes())
                    .await
                    .unwrap();
            }
            seen.push(request);
        }
        seen
    });
    (ours, serving)
}

fn old_server(request: &Value) -> Option<Value> {
    Some(match request["method"].as_str()? {
        "initialize" => {
            json!({"result": {"protocolVersion": "2024-11-05", "capabilities": {"tools": {}},
            "serverInfo": {"name": "old", "version": "0.1"}}})
        }
        "tools/list" => json!({"result": {"tools": [
            {"name": "a.b", "inputSchema": {}, "annotations": {"readOnlyHint": true}},
            {"name": "a/b", "title": "Second", "inputSchema": {"type": "object"}, "annotations": {"destructiveHint": true}},
            {"name": "c", "description": "x".repeat(5000), "inputSchema": {"type": "object"}},
        ]}}),
        "tools/call" => match request["params"]["name"].as_str()? {
            "a.b" => json!({"result": {"content": [
                {"type": "resource", "resource": {"uri": "file:///a", "text": "inside"}},
                {"type": "resource", "resource": {"uri": "file:///b", "blob": "AAAA", "mimeType": "a/b"}},
                {"type": "resource_link", "uri": "file:///c", "name": "C", "description": "third"},
                {"type": "image", "data": "!!!", "mimeType": "image/png"},
            ]}}),
            "a/b" => {
                json!({"result": {"content": [], "structuredContent": {"k": 1}, "isError": true}})
            }
            _ => json!({"error": {"code": -32602, "message": "x is missing"}}),
        },
        _ => json!({"error": {"code": -32601, "message": "Method not found"}}),
    })
}

#[tokio::test]
async fn falls_back_for_an_old_server_and_reads_what_it_says() {
    let (stream, serving) = scripted(old_server);
    let (read, write) = tokio::io::split(stream);
    let client = McpClient::connect(read, write, McpOptions::new())
        .await
        .unwrap();
    assert_eq!((client.server(), client.protocol()), ("old", "2024-11-05"));
    let tools = client.tool_set().await.unwrap();
    assert_eq!(tools.names(), ["a_b", "a_b_2", "c"]);
    // A hint that it only reads is not believed.
    assert_eq!(tools.effect("a_b"), Some(Effect::Unknown));
    assert_eq!(tools.effect("a_b_2"), Some(Effect::External));
    assert_eq!(tools.get("a_b_2").unwrap().spec().description, "Second");
    assert_eq!(
        tools.get("a_b").unwrap().spec().parameters.as_value(),
        &json!({"type": "object", "properties": {}})
    );
    assert_eq!(
        tools.get("c").unwrap().spec().description,
        "x".repeat(4000) + " [cut]"
    );
    let output = tools
        .get("a_b")
        .unwrap()
        .call("{}", &ToolContext::default())
        .await
        .unwrap();
    let texts: Vec<_> = output
        .content
        .iter()
        .map(|p| p.as_text().unwrap())
        .collect();
    assert_eq!(
        texts[..3],
        [
            "[file:///a]\ninside",
            "[file:///b: 3 bytes of a/b]",
            "[C at file:///c: third]"
        ]
    );
    assert!(
        texts[3].starts_with("[image/png whose base64 is damaged: "),
        "{}",
        texts[3]
    );
    let output = tools
        .get("a_b_2")
        .unwrap()
        .call("{}", &ToolContext::default())
        .await
        .unwrap();
    assert_eq!(
        (output.is_error, output.content[0].as_text()),
        (true, Some(r#"{"k":1}"#))
    );
    let error = tools
        .get("c")
        .unwrap()
        .call("{}", &ToolContext::default())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ToolError::InvalidArguments(m) if m == "x is missing"),
        "{error}"
    );
    client.close().await.unwrap();
    let seen = serving.await.unwrap();
    let methods: Vec<_> = seen.iter().map(|m| m["method"].as_str().unwrap()).collect();
    assert_eq!(
        methods,
        [
            "server/discover",
            "initialize",
            "notifications/initialized",
            "tools/list",
            "tools/call",
            "tools/call",
            "tools/call"
        ]
    );
    assert_eq!(seen[1]["params"]["protocolVersion"], "2025-11-25");
}

#[tokio::test]
async fn what_is_no_server_is_an_error() {
    let short = McpOptions::new().with_connect_timeout(Duration::from_millis(50));
    let (stream, _serving) = scripted(|_| None);
    let (read, write) = tokio::io::split(stream);
    let error = McpClient::connect(read, write, short.clone())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(
        error.to_string(),
        "mcp: timeout: the server did not answer within 0.05 s"
    );
    let (stream, _serving) = scripted(old_server);
    let (read, write) = tokio::io::split(stream);
    let strict = McpOptions::new().with_protocol(McpProtocol::Stateless);
    let error = McpClient::connect(read, write, strict).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);

    let error = McpClient::spawn(Command::new("ropewalk-no-such-program"), short)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(
        error
            .to_string()
            .contains("\"ropewalk-no-such-program\" cannot be started"),
        "{error}"
    );
    for (url, kind) in [
        ("ftp://a.test", ErrorKind::Configuration),
        ("http://127.0.0.1:1/mcp", ErrorKind::Connection),
    ] {
        assert_eq!(
            McpClient::http(url, McpOptions::new())
                .await
                .unwrap_err()
                .kind(),
            kind
        );
    }
    let header = McpOptions::new().with_header("x-key", "secret\nvalue");
    let error = McpClient::http("http://a.test", header).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_program_that_ends_says_why() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo no licence found >&2; exit 3"]);
    let error = McpClient::spawn(command, McpOptions::new())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    let text = error.to_string();
    assert!(
        text.contains("\"sh\": no connection") && text.ends_with("it said: no licence found"),
        "{text}"
    );
}

#[tokio::test]
async fn replies_over_http_come_in_many_shapes() {
    let initialized = json!({"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": "2025-06-18",
        "capabilities": {"tools": {}}, "serverInfo": {"name": "web", "version": "1"}}});
    let list = json!({"jsonrpc": "2.0", "id": 2, "result": {"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}});
    let done = json!({"jsonrpc": "2.0", "id": 3, "result": {"content": [{"type": "text", "text": "done"}]}});
    let double = Double::new([
        Canned::new(400, "text/plain", "Bad Request"),
        Canned::sse(format!("event: message\ndata: {initialized}\n\n")),
        Canned::new(202, "", ""),
        Canned::json(&list),
        Canned::sse(format!(": hello\n\ndata: {done}\n\n")).in_pieces_of(3),
        Canned::error(500, &json!({"oops": 1})),
        Canned::new(200, "text/html", "<html>"),
        Canned::new(200, "application/json", "{"),
        Canned::error(401, &json!({})).with_header("www-authenticate", "Bearer realm=x"),
        Canned::sse(format!("data: {}\n\n", "x".repeat(17 << 20))),
    ]);
    let options = McpOptions::new().with_header("x-key", "secret-value-9");
    let client = McpClient::http_over(double.clone(), "http://a.test/mcp", options)
        .await
        .unwrap();
    assert_eq!((client.server(), client.protocol()), ("web", "2025-06-18"));
    let tools = client.tool_set().await.unwrap();
    assert_eq!(call(&tools, "t", "{}").await, ("done".into(), false));
    for expected in [
        "HTTP 500",
        "text/html",
        "EOF",
        "Bearer realm=x",
        "the connection has ended",
    ] {
        let (text, wrong) = call(&tools, "t", "{}").await;
        assert!(wrong && text.contains(expected), "{expected}: {text}");
        assert!(!text.contains("secret"));
    }
    let requests = double.requests();
    assert!(
        requests
            .iter()
            .all(|r| r.headers["x-key"] == "secret-value-9")
    );
    assert_eq!(requests[3].headers["mcp-protocol-version"], "2025-06-18");
}
