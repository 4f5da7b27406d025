#!/usr/bin/env python3
"""Crates and time of a clean build: a program that asks a model and has a tool, with each library.

Run:   python benches/peers/agents/build.py --csv benches/peers/agents/builds.csv
       --only NAME builds one program and leaves the others' rows in the file; --jobs N (2)

Needs the network for the first step, which is not timed: dependencies are fetched before. Each
build begins with an empty target directory. The table shows the wall time, the processor time of
all processes together (which other work on the machine hardly changes), and the load average
before each build: what runs beside it makes wall times longer.
"""

import argparse
import csv
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

CRATES = Path(__file__).resolve().parents[3] / "crates"

OURS = """
use ropewalk_core::ChatModelExt;
use ropewalk_providers::OpenAi;
use ropewalk_tools::{ToolRunner, ToolSet, tool};

/// Adds two numbers.
#[tool(effect = read)]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = OpenAi::from_env()?.chat("gpt-4o-mini");
    println!("{}", model.ask("Hello").await?);
    let run = ToolRunner::new(ToolSet::new().with(add)?).run(&model, "What is 2 + 40?").await?;
    println!("{}", run.response.text());
    Ok(())
}
"""

OURS_AGENT = """
use ropewalk_agents::Agent;
use ropewalk_providers::OpenAi;
use ropewalk_tools::{ToolSet, tool};

/// Adds two numbers.
#[tool(effect = read)]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = OpenAi::from_env()?.chat("gpt-4o-mini");
    let agent = Agent::new(model).tools(ToolSet::new().with(add)?);
    println!("{}", agent.run("What is 2 + 40?").await?.output);
    Ok(())
}
"""

RIG_TOOL = """
#[derive(serde::Deserialize)]
struct Terms {
    a: i64,
    b: i64,
}

struct Add;

impl rig_core::tool::Tool for Add {
    const NAME: &'static str = "add";
    type Args = Terms;
    type Output = i64;
    type Error = std::convert::Infallible;

    fn description(&self) -> String {
        "Adds two numbers.".into()
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!({"type": "object", "required": ["a", "b"],
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}})
    }

    async fn call(&self, _: &mut rig_core::tool::ToolContext, t: Terms) -> Result<i64, Self::Error> {
        Ok(t.a + t.b)
    }
}
"""

RIG = RIG_TOOL + """
use rig_core::completion::CompletionRequest;
use rig_core::providers::openai::OpenAI;
use rig_core::tool::{ErasedTool, ToolContext};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = OpenAI::from_env()?.chat("gpt-4o-mini");
    println!("{}", model.call(CompletionRequest::new("Hello")).await?.text());
    let result = Add.execute(r#"{"a": 2, "b": 40}"#.into(), &mut ToolContext::new()).await;
    println!("{result:?}");
    Ok(())
}
"""

RIG_AGENT = RIG_TOOL + """
use rig_agent::agent::AgentBuilder;
use rig_core::providers::openai::OpenAI;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = OpenAI::from_env()?.chat("gpt-4o-mini");
    let agent = AgentBuilder::new(model).tool(Add).build();
    println!("{}", agent.prompt("What is 2 + 40?").await?.output());
    Ok(())
}
"""

GENAI = """
use genai::Client;
use genai::chat::{ChatMessage, ChatRequest, Tool};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let schema = serde_json::json!({"type": "object", "required": ["a", "b"],
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}});
    let add = Tool::new("add").with_description("Adds two numbers.").with_schema(schema);
    let request = ChatRequest::new(vec![ChatMessage::user("What is 2 + 40?")]).with_tools(vec![add]);
    println!("{:?}", Client::new()?.exec_chat("gpt-4o-mini", request, None).await?.content);
    Ok(())
}
"""

ASYNC_OPENAI = """
use async_openai::Client;
use async_openai::types::chat::{
    ChatCompletionRequestUserMessageArgs, ChatCompletionTool, ChatCompletionTools,
    CreateChatCompletionRequestArgs, FunctionObjectArgs,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let schema = serde_json::json!({"type": "object", "required": ["a", "b"],
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}});
    let add = FunctionObjectArgs::default().name("add").parameters(schema).build()?;
    let user = ChatCompletionRequestUserMessageArgs::default().content("What is 2 + 40?").build()?;
    let request = CreateChatCompletionRequestArgs::default()
        .model("gpt-4o-mini")
        .messages([user.into()])
        .tools(vec![ChatCompletionTools::Function(ChatCompletionTool { function: add })])
        .build()?;
    println!("{:?}", Client::new().chat().create(request).await?.choices);
    Ok(())
}
"""

TOKIO = 'tokio = { version = "1", features = ["macros", "rt"] }'
JSON = 'serde_json = "1"'
SERDE = 'serde = { version = "1", features = ["derive"] }'


def ours(*names):
    return [f'{name} = {{ path = "{CRATES / name}" }}' for name in names]


RIG_CORE = 'rig-core = { version = "=0.44.0", features = ["reqwest"] }'
PROGRAMS = {
    "ropewalk-providers + ropewalk-tools": (OURS, ours("ropewalk-core", "ropewalk-providers", "ropewalk-tools")),
    "rig-core": (RIG, [RIG_CORE, SERDE, JSON]),
    "genai": (GENAI, ['genai = "=0.7.2"', JSON]),
    "async-openai": (ASYNC_OPENAI, ['async-openai = { version = "=0.43.0", features = ["chat-completion"] }', JSON]),
    "the same + ropewalk-agents": (OURS_AGENT, ours("ropewalk-agents", "ropewalk-providers", "ropewalk-tools")),
    "rig-core + rig-agent": (RIG_AGENT, [RIG_CORE, 'rig-agent = "=0.44.0"', SERDE, JSON]),
}
FIELDS = ["program", "crates", "profile", "jobs", "wall_s", "processor_s", "load_before"]


def timed(command, cwd, env):
    load = os.getloadavg()[0]
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return round(wall, 1), round(processor, 1), round(load, 1)


def build(name, jobs):
    source, dependencies = PROGRAMS[name]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "src").mkdir()
        (root / "src/main.rs").write_text(source)
        manifest = ["[package]", 'name = "program"', 'version = "0.0.0"', 'edition = "2024"', "[workspace]"]
        (root / "Cargo.toml").write_text("\n".join([*manifest, "[dependencies]", TOKIO, *dependencies]))
        env = {k: v for k, v in os.environ.items() if k not in ("RUSTFLAGS", "RUSTC_WRAPPER")}
        subprocess.run(["cargo", "fetch"], cwd=root, env=env, check=True, capture_output=True)
        tree = ["cargo", "tree", "--offline", "-e", "normal,build", "--prefix", "none", "--no-dedupe"]
        out = subprocess.run(tree, cwd=root, env=env, check=True, capture_output=True, text=True).stdout
        # `name version` of each line; without the program itself.
        crates = len({tuple(line.split()[:2]) for line in out.splitlines()}) - 1
        for profile, command in (("release", ["build", "--release"]), ("dev, check", ["check"])):
            env["CARGO_TARGET_DIR"] = str(root / command[0])
            wall, processor, load = timed(["cargo", *command, "--locked", "--offline", f"-j{jobs}"], root, env)
            yield dict(zip(FIELDS, (name, crates, profile, jobs, wall, processor, load)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PROGRAMS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    kept = []
    if args.csv and args.csv.is_file() and args.only:
        with args.csv.open(newline="") as file:
            kept = [row for row in csv.DictReader(file) if row["program"] != args.only]
    rows = []
    for name in [args.only] if args.only else PROGRAMS:
        for row in build(name, args.jobs):
            print(*(f"{key}={value}" for key, value in row.items()), flush=True)
            rows.append(row)
    if args.csv:
        order = list(PROGRAMS)
        rows = sorted([*kept, *rows], key=lambda row: order.index(row["program"]))
        with args.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
