//! Tools that ask the web, on doubles and on loopback.

use proptest::prelude::*;
use ropewalk_core::testing::{self, ToolSuite};
use ropewalk_core::{Effect, Tool, ToolContext, ToolError, ToolOutput, Trust};
use ropewalk_core::{async_trait, http};
use ropewalk_http::testing::{Canned, Double};
use ropewalk_http::{Client, ClientOptions, FetchOptions, Reply, Request, Transport};
use ropewalk_tools::builtin::web::{readable, weather_code};
use ropewalk_tools::builtin::{DuckDuckGo, HttpFetch, Weather, Wikipedia};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn ask(tool: &impl Tool, arguments: &Value) -> Result<ToolOutput, ToolError> {
    assert_eq!(tool.effect(), Effect::Read);
    let output = tool
        .call(&arguments.to_string(), &ToolContext::default())
        .await?;
    assert_eq!(output.trust, Trust::Untrusted);
    Ok(output)
}

fn shown(output: &ToolOutput) -> &str {
    output.content[0].as_text().unwrap()
}

/// Serves pages by path on loopback until the test ends; returns its address.
async fn serve(pages: &'static [(&'static str, &'static str, &'static str)]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if socket.read(&mut byte).await.unwrap_or(0) == 0 {
                    break;
                }
                request.push(byte[0]);
            }
            let request = String::from_utf8_lossy(&request);
            let path = request.split(' ').nth(1).unwrap_or("");
            let found = pages.iter().find(|(p, ..)| *p == path);
            let (head, body) = match found {
                Some((_, "redirect", to)) => (format!("302 Found\r\nlocation: {to}"), ""),
                Some((_, kind, body)) => (format!("200 OK\r\ncontent-type: {kind}"), *body),
                None => (
                    "404 Not Found\r\ncontent-type: text/plain".to_owned(),
                    "nothing here",
                ),
            };
            let length = body.len();
            let reply = format!(
                "HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            drop(socket.write_all(reply.as_bytes()).await);
        }
    });
    address
}

const PAGES: &[(&str, &str, &str)] = &[
    (
        "/",
        "text/html; charset=utf-8",
        "<!doctype html><html><head><title>Sky &amp; Sea</title><style>p{color:red}</style></head>\
         <body><nav><a href='/about'>About  us</a> <a href='#top'>Top</a></nav><h1>Flights</h1>\
         <p>To <b>Oslo</b>: 99&nbsp;&euro;</p><ul><li>Mon<li>Tue</ul>\
         <a href='mailto:x@y.test'>Mail</a><a href='/about#team'>Again</a></body></html>",
    ),
    ("/moved", "redirect", "/"),
    ("/out", "redirect", "http://localhost.test/"),
    ("/inside", "redirect", "file:///etc/passwd"),
    ("/data", "application/json", r#"{"price": 99}"#),
    ("/image", "image/png", "PNG"),
    ("/long", "text/plain", "aäbcdefghijklmnopqrstuvwxyz"),
];

#[tokio::test]
async fn fetches_readable_pages() {
    let address = serve(PAGES).await;
    let options = FetchOptions::new()
        .with_host("127.0.0.1")
        .with_private(true);
    let tool = HttpFetch::new(options).unwrap().with_max_chars(10);
    assert!(
        tool.spec()
            .description
            .ends_with("Only pages of these hosts: 127.0.0.1.")
    );
    let url = |path: &str| format!("{address}{path}");

    let page = tool.page(&url("/moved")).await.unwrap();
    assert_eq!(page.title, "Sky & Sea");
    assert_eq!(
        page.text,
        "About us Top\n\n# Flights\n\nTo Oslo: 99\u{a0}€\n\n- Mon\n- Tue\n\nMailAgain"
            .replace('\u{a0}', " ")
    );
    assert_eq!(page.links.len(), 1);
    assert_eq!(
        (page.links[0].text.as_str(), &page.links[0].url),
        ("About us", &url("/about"))
    );

    let output = ask(&tool, &json!({"url": url("/long")})).await.unwrap();
    let structured = output.structured.clone().unwrap();
    assert_eq!(structured["text"], "aäbcdefghi");
    assert_eq!(
        (&structured["characters"], &structured["truncated"]),
        (&json!(27), &json!(true))
    );
    let note = "[cut: characters 0 to 10 of 27; for more set start to 10]";
    assert!(shown(&output).ends_with(note), "{}", shown(&output));
    let rest = ask(&tool, &json!({"url": url("/long"), "start": 20}))
        .await
        .unwrap();
    assert_eq!(rest.structured.unwrap()["text"], "tuvwxyz");
    let past = ask(&tool, &json!({"url": url("/long"), "start": 99}))
        .await
        .unwrap();
    assert_eq!(past.structured.unwrap()["text"], "");

    let tool = tool.with_max_chars(1000).with_max_links(0);
    let output = ask(&tool, &json!({"url": url("/")})).await.unwrap();
    assert!(!shown(&output).contains("Links:"));
    let output = ask(&tool.with_max_links(9), &json!({"url": url("/")}))
        .await
        .unwrap();
    assert!(shown(&output).starts_with(&format!(
        "Address: {address}/\nTitle: Sky & Sea\n\nAbout us"
    )));
    assert!(shown(&output).ends_with(&format!("Links:\n- About us: {address}/about")));
}

#[tokio::test]
async fn fetches_nothing_else() {
    let address = serve(PAGES).await;
    let host = FetchOptions::new().with_host("127.0.0.1");
    let open = HttpFetch::new(host.clone().with_private(true)).unwrap();
    let refused = [
        ("/image", "is image/png, which is no text"),
        ("/none", "not found"),
        ("/out", "localhost.test is not one of the allowed hosts"),
        ("/inside", "neither http nor https"),
    ];
    for (path, expected) in refused {
        let error = ask(&open, &json!({"url": format!("{address}{path}")}))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{path}: {error}");
    }
    // The same page without leave to fetch from this machine, by number and by name.
    for host in ["127.0.0.1", "localhost"] {
        let guarded = HttpFetch::new(FetchOptions::new()).unwrap();
        let url = address.replace("127.0.0.1", host);
        let error = ask(&guarded, &json!({ "url": url })).await.unwrap_err();
        assert!(error.to_string().contains("public address"), "{error}");
    }
    let small = HttpFetch::new(host.with_private(true).with_max_bytes(20)).unwrap();
    let error = ask(&small, &json!({"url": address})).await.unwrap_err();
    assert!(
        error.to_string().contains("is larger than 20 bytes"),
        "{error}"
    );
    for url in ["", "no address", "http://"] {
        let error = ask(&small, &json!({ "url": url })).await.unwrap_err();
        assert!(error.to_string().contains("cannot be read"), "{error}");
    }
}

#[test]
fn reads_markup() {
    let text = |html: &str| readable(html, "http://a.test/b/").text;
    assert_eq!(
        text("a < b && c <3 <!-- x > y --> d<br/>e"),
        "a < b && c <3 d\ne"
    );
    assert_eq!(text("<script>if (a</b) '</p>'</SCRIPT>x<style>y"), "x");
    assert_eq!(text("<svg><title>no</title><svg></svg></svg>yes"), "yes");
    assert_eq!(
        text("&lt;b&gt; &#228;&#xe4;&#0; &unknown; &amp;amp; &; &auml"),
        "<b> ää\u{fffd} &unknown; &amp; &; &auml"
    );
    assert_eq!(text("<p a='>' b=\">\">x</p><p>y"), "x\n\ny");
    assert_eq!(text("<table><tr><td>1<td>2<tr><td>3</table>"), "1 2\n3");
    assert_eq!(text("x<p title='never closed>y"), "x");
    let page = readable(
        "<base href='/c/'><a href=d?e=1&amp;f=2>D</a><a HREF = \"//g.test\">G</a><a href='javascript:x()'>J</a><a>N</a>",
        "http://a.test/b/",
    );
    let links: Vec<_> = page.links.iter().map(|l| l.url.as_str()).collect();
    assert_eq!(links, ["http://a.test/c/d?e=1&f=2", "http://g.test/"]);
    assert!(
        readable("<a href='/x'>X</a>", "no address")
            .links
            .is_empty()
    );
    // A pathological page is read in linear time: this would take minutes otherwise.
    for piece in [
        "<",
        "<a ",
        "<a href='",
        "<!--",
        "</",
        "&",
        "<script>",
        "<p a=b ",
    ] {
        assert!(
            readable(&piece.repeat(300_000), "http://a.test/")
                .text
                .len()
                < 400_000
        );
    }
}

proptest! {
    #[test]
    fn any_markup_is_read(html in "(<|>|/|!|--|a|p|script|title|href|=|\"|'|&|#|;|x| |é|li|svg){0,80}") {
        let page = readable(&html, "http://a.test/");
        prop_assert!(page.text.len() <= 2 * html.len() + 2);
    }
}

#[tokio::test]
async fn looks_up_articles() {
    let search = json!({"query": {"search": [
        {"title": "Oslo", "snippet": "capital of <span class=\"searchmatch\">Norway</span>"},
        {"title": "AC/DC", "snippet": "a &quot;band&quot;"},
    ]}});
    let summary = json!({
        "title": "Oslo", "description": "Capital of Norway", "extract": "Oslo is the capital.",
        "content_urls": {"desktop": {"page": "https://en.wikipedia.org/wiki/Oslo"}},
    });
    let double = Double::new([
        Canned::json(&search),
        Canned::json(&summary),
        Canned::error(404, &json!({"title": "Not found."})),
    ]);
    let tool = Wikipedia::new(double.client());
    let output = ask(&tool, &json!({"query": " Oslo ", "limit": 2}))
        .await
        .unwrap();
    assert_eq!(
        shown(&output),
        "# Oslo\n\nCapital of Norway\nOslo is the capital.\nhttps://en.wikipedia.org/wiki/Oslo\n\n\
         # AC/DC\n\na \"band\""
    );
    assert_eq!(output.structured.unwrap()[0]["title"], "Oslo");
    let urls: Vec<_> = double.requests().iter().map(|r| r.url.clone()).collect();
    assert_eq!(
        urls,
        [
            "https://en.wikipedia.org/w/api.php?action=query&list=search&format=json&formatversion=2&srlimit=2&srsearch=Oslo",
            "https://en.wikipedia.org/api/rest_v1/page/summary/Oslo",
            "https://en.wikipedia.org/api/rest_v1/page/summary/AC%2FDC",
        ]
    );

    let double = Double::new([
        Canned::json(&json!({"query": {"search": []}})),
        Canned::json(&json!({"error": {"info": "Search is down."}})),
        Canned::new(200, "text/html", "<html>"),
    ]);
    let tool = Wikipedia::new(double.client()).with_base_url("http://wiki.test/{language}/");
    let output = ask(&tool, &json!({"query": "xyzzy", "language": "de"}))
        .await
        .unwrap();
    assert_eq!(shown(&output), "No article fits \"xyzzy\".");
    assert!(
        double.requests()[0]
            .url
            .starts_with("http://wiki.test/de/w/api.php?")
    );
    let error = ask(&tool, &json!({"query": "x"})).await.unwrap_err();
    assert_eq!(error.to_string(), "wikipedia: Search is down.");
    let error = ask(&tool, &json!({"query": "x"})).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("wikipedia: the reply is no JSON"),
        "{error}"
    );
    for bad in [
        json!({"query": ""}),
        json!({"query": "x", "language": "evil.test/"}),
    ] {
        let error = ask(&tool, &bad).await.unwrap_err();
        assert!(matches!(error, ToolError::InvalidArguments(_)), "{error}");
    }
    assert_eq!(double.requests().len(), 3);
}

const RESULTS: &str = r#"<html><div class="result results_links">
  <h2 class="result__title"><a rel="nofollow" class="result__a"
    href="//duckduckgo.com/l/?uddg=https%3A%2F%2Fwww.rust%2Dlang.org%2F%3Fa%3D1&amp;rut=9">Rust
    <b>Language</b></a></h2>
  <a class="result__url" href="x">www.rust-lang.org</a>
  <a class="result__snippet" href="//duckduckgo.com/l/?uddg=x">Fast &amp; <b>safe</b>.</a></div>
<div class="result result--ad"><a class="result__a"
    href="https://duckduckgo.com/y.js?ad_domain=shop.test">Buy rust</a>
  <a class="result__snippet" href="x">An advertisement</a></div>
<div class="result"><a class="result__a" href="https://crates.io/">crates.io</a>
  <div class="result__snippet">Packages</div></div>
<div class="result"><a class="result__a" href="https://third.test/">Third</a></div></html>"#;

#[tokio::test]
async fn searches_the_web() {
    let answer = json!({"Heading": "Rust", "AbstractText": "A language.",
        "AbstractURL": "https://en.wikipedia.org/wiki/Rust", "RelatedTopics": []});
    let double = Double::new([
        Canned::new(200, "application/x-javascript", answer.to_string()),
        Canned::new(200, "text/html", RESULTS),
    ]);
    let tool = DuckDuckGo::new(double.client());
    let output = ask(&tool, &json!({"query": "rust & co", "limit": 2}))
        .await
        .unwrap();
    assert_eq!(
        shown(&output),
        "Rust\nA language.\nhttps://en.wikipedia.org/wiki/Rust\n\n\
         1. Rust Language\nhttps://www.rust-lang.org/?a=1\nFast & safe.\n\n\
         2. crates.io\nhttps://crates.io/\nPackages"
    );
    let urls: Vec<_> = double.requests().iter().map(|r| r.url.clone()).collect();
    assert_eq!(
        urls,
        [
            "https://api.duckduckgo.com/?q=rust+%26+co&format=json&no_html=1&skip_disambig=1",
            "https://html.duckduckgo.com/html/?q=rust+%26+co",
        ]
    );

    let challenge = "<form id=\"challenge-form\" action=\"//duckduckgo.com/anomaly.js\">";
    let double = Double::new([
        Canned::json(&json!({"RelatedTopics": [{"Text": "Rust is iron oxide.", "FirstURL": "u"}]})),
        Canned::new(202, "text/html", challenge),
        Canned::error(403, &json!({})),
        Canned::new(200, "text/html", "<p>No results.</p>"),
        Canned::error(403, &json!({})),
        Canned::error(403, &json!({})),
    ]);
    let tool = DuckDuckGo::new(double.client()).with_base_urls("http://a.test", "http://b.test");
    let output = ask(&tool, &json!({"query": "rust"})).await.unwrap();
    assert!(
        shown(&output).starts_with("Rust is iron oxide.\nu\n\n[no results: duckduckgo: it asks")
    );
    let output = ask(&tool, &json!({"query": "rust"})).await.unwrap();
    assert!(
        shown(&output).starts_with("[no instant answer: duckduckgo: "),
        "{}",
        shown(&output)
    );
    assert!(
        shown(&output).ends_with("[no results]"),
        "{}",
        shown(&output)
    );
    let error = ask(&tool, &json!({"query": "rust"})).await.unwrap_err();
    assert!(error.to_string().contains("permission denied"), "{error}");
}

fn forecast() -> Value {
    json!({
        "timezone": "Europe/Oslo",
        "current_units": {"temperature_2m": "°C", "apparent_temperature": "°C", "relative_humidity_2m": "%",
            "precipitation": "mm", "wind_speed_10m": "km/h", "wind_direction_10m": "°"},
        "current": {"time": "2026-11-21T16:00", "temperature_2m": -1.5, "apparent_temperature": -6,
            "relative_humidity_2m": 80, "precipitation": 0.2, "weather_code": 71,
            "wind_speed_10m": 12.3, "wind_direction_10m": 200},
        "daily_units": {"temperature_2m_max": "°C", "temperature_2m_min": "°C", "precipitation_sum": "mm",
            "precipitation_probability_max": "%", "wind_speed_10m_max": "km/h"},
        "daily": {"time": ["2026-11-21", "2026-11-22"], "weather_code": [71, 42],
            "temperature_2m_max": [0.5, null], "temperature_2m_min": [-4, -7], "precipitation_sum": [1.2, 0],
            "precipitation_probability_max": [90, 3], "wind_speed_10m_max": [20, 9]},
    })
}

#[tokio::test]
async fn tells_the_weather() {
    let places = json!({"results": [
        {"name": "Oslo", "admin1": "Minnesota", "country": "United States", "latitude": 48.2, "longitude": -97.1},
        {"name": "Oslo", "admin1": "Oslo", "country": "Norway", "country_code": "NO", "latitude": 59.91, "longitude": 10.75},
    ]});
    let double = Double::new([Canned::json(&places), Canned::json(&forecast())]);
    let tool = Weather::new(double.client()).with_key("customer-secret-77");
    assert!(!format!("{tool:?}").contains("secret"));
    let output = ask(&tool, &json!({"place": "Oslo, norway", "days": 2}))
        .await
        .unwrap();
    assert_eq!(
        shown(&output),
        "Oslo, Oslo, Norway\n\
         Now (2026-11-21T16:00 Europe/Oslo): light snowfall, -1.5°C (feels like -6°C), humidity 80%, precipitation 0.2 mm, wind 12.3 km/h from 200°\n\
         2026-11-21: light snowfall, -4°C to 0.5°C, precipitation 1.2 mm (90%), wind up to 20 km/h\n\
         2026-11-22: weather unknown, -7°C to ?, precipitation 0 mm (3%), wind up to 9 km/h"
    );
    assert_eq!(
        output.structured.unwrap()["forecast"]["daily"]["weather"][0],
        "light snowfall"
    );
    let urls: Vec<_> = double
        .requests()
        .iter()
        .map(|r| r.shown_url().into_owned())
        .collect();
    assert!(
        urls[0].starts_with("https://geocoding-api.open-meteo.com/v1/search?name=Oslo&count=10")
    );
    assert!(
        urls[1].contains("latitude=59.91&longitude=10.75&current=temperature_2m%2C"),
        "{}",
        urls[1]
    );
    assert!(urls[1].contains("&forecast_days=2") && !urls.concat().contains("secret"));
    assert!(
        double.requests()[1]
            .url
            .ends_with("&apikey=customer-secret-77")
    );

    let double = Double::new([
        Canned::json(&places),
        Canned::json(&json!({"generationtime_ms": 1.0})),
        Canned::json(&places),
        Canned::error(
            400,
            &json!({"error": true, "reason": "bad key customer-secret-77"}),
        ),
        Canned::json(&places),
        Canned::json(&json!({})),
    ]);
    let tool = Weather::new(double.client()).with_key("customer-secret-77");
    let error = ask(&tool, &json!({"place": "Oslo, Chile"}))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "no such place; there are: Oslo, Minnesota, United States; Oslo, Oslo, Norway"
    );
    let error = ask(&tool, &json!({"place": "Nowhere"})).await.unwrap_err();
    assert_eq!(error.to_string(), "no place is called \"Nowhere\"");
    let error = ask(&tool, &json!({"place": "Oslo"})).await.unwrap_err();
    assert!(
        !error.to_string().contains("secret") && error.to_string().contains("open-meteo"),
        "{error}"
    );
    let output = ask(&tool, &json!({"place": "Oslo", "units": "imperial"}))
        .await
        .unwrap();
    assert!(shown(&output).contains("weather unknown, ? (feels like ?)"));
    assert!(
        double.requests()[5]
            .url
            .contains("&temperature_unit=fahrenheit&wind_speed_unit=mph")
    );
    assert_eq!(weather_code(95), Some("thunderstorm"));
}

/// Answers by what stands in the address.
struct ByAddress;

#[async_trait]
impl Transport for ByAddress {
    async fn send(&self, request: &Request) -> ropewalk_core::Result<Reply> {
        let body = match request.url.as_str() {
            url if url.contains("api.php") => json!({"query": {"search": [{"title": "Oslo"}]}}),
            url if url.contains("/summary/") => json!({"extract": "A city."}),
            url if url.contains("geocoding") => {
                json!({"results": [{"name": "Oslo", "latitude": 1.0, "longitude": 2.0}]})
            }
            url if url.contains("forecast") => forecast(),
            _ => json!({"Answer": "42"}),
        };
        Ok(Reply::new(
            http::StatusCode::OK,
            http::HeaderMap::new(),
            body.to_string(),
        ))
    }
}

#[tokio::test]
async fn all_keep_the_rules_of_tools() {
    let client = Client::with_transport(std::sync::Arc::new(ByAddress), ClientOptions::new());
    let address = serve(PAGES).await;
    let fetch = HttpFetch::new(FetchOptions::new().with_private(true)).unwrap();
    let url = json!({ "url": format!("{address}/data") }).to_string();
    let tools: [(&dyn Tool, &str); 4] = [
        (&fetch, &url),
        (&Wikipedia::new(client.clone()), r#"{"query": "Oslo"}"#),
        (&DuckDuckGo::new(client.clone()), r#"{"query": "Oslo"}"#),
        (&Weather::new(client), r#"{"place": "Oslo"}"#),
    ];
    for (tool, arguments) in tools {
        let report = testing::tool(tool, &ToolSuite::new(arguments)).await;
        report.into_result().unwrap();
    }
}
