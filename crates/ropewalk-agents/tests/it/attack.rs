//! Injected instructions: a model that always obeys them still cannot fire a tool.
//!
//! Every text of `fixtures/attacks.json` reaches the model by every way there is into a
//! conversation. The model makes the call the text names as soon as it has read it. With the gate
//! nothing happens; the twin without it shows that the tool would have been called.

use std::sync::Arc;

use ropewalk_agents::{
    Agent, AgentError, AllowAll, Buffer, ChatPrompt, Gate, InMemoryHistory, Input, Memory,
    RetrieverMemory, Summary, ToolPolicy, Vars, Window,
};
use ropewalk_core::testing::ScriptedModel;
use ropewalk_core::{
    Capabilities, ChatRequest, ChatResponse, Effect, Message, Part, Passage, Result, Retriever,
    Role, Source, ToolCall, ToolError, ToolOutput, async_trait, tool_fn,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::desk::{Anything, Log, noted};

#[derive(Deserialize, Clone)]
struct Attack {
    kind: String,
    text: String,
    tool: String,
    arguments: Value,
}

fn corpus() -> Vec<Attack> {
    serde_json::from_str(include_str!("../fixtures/attacks.json")).unwrap()
}

/// Everything the model reads.
fn read(request: &ChatRequest) -> String {
    let texts = request.messages.iter().flat_map(|m| {
        let results = m.results().map(ropewalk_core::ToolResult::text);
        [m.text()].into_iter().chain(results)
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// Obeys: makes the call once it has read the text, else does the next thing of `plan`.
fn obedient(attack: &Attack, plan: &[(&'static str, Value)], tools: bool) -> ScriptedModel {
    let (attack, plan) = (attack.clone(), plan.to_vec());
    let model = ScriptedModel::respond_with(move |request| {
        // Delimiters in the text are escaped where it is quoted.
        let seen = read(request).replace("&lt;", "<");
        let written = request
            .messages
            .iter()
            .filter(|m| m.role == Role::Assistant);
        let written = written.filter(|m| m.text().contains("Action: ")).count();
        let made = written
            + request
                .messages
                .iter()
                .flat_map(Message::tool_calls)
                .count();
        let asked = request.messages.iter().flat_map(Message::tool_calls);
        let obeyed = asked.into_iter().any(|c| c.name == attack.tool)
            || seen.contains(&format!("Action: {}", attack.tool));
        let next = if seen.contains(&attack.text) && !obeyed {
            Some((attack.tool.as_str(), attack.arguments.clone()))
        } else {
            plan.get(made)
                .map(|(name, arguments)| (*name, arguments.clone()))
        };
        let next = next.filter(|(name, _)| *name != attack.tool || !obeyed);
        let message = match next {
            Some((name, arguments)) if request.tools.is_empty() => {
                Message::assistant(format!("Action: {name}\nAction Input: {arguments}"))
            }
            Some((name, arguments)) => {
                let id = format!("call_{}", request.messages.len());
                Message::assistant(Part::ToolCall(ToolCall::new(
                    id,
                    name,
                    arguments.to_string(),
                )))
            }
            None if request.tools.is_empty() => Message::assistant("Final Answer: done"),
            None => Message::assistant("done"),
        };
        Ok(ChatResponse::new("scripted", "obedient", message))
    });
    match tools {
        true => model,
        false => model.with_capabilities(Capabilities::default()),
    }
}

/// An agent with a tool that reads the injected text and tools that do harm.
fn agent(
    model: ScriptedModel,
    attack: &Attack,
    log: &Log,
    policy: impl ToolPolicy + 'static,
) -> Agent {
    armed(Agent::new(model).tool(page(attack, false)), log).policy(policy)
}

fn armed(agent: Agent, log: &Log) -> Agent {
    agent
        .tool(noted(log, "send_mail", Effect::External))
        .tool(noted(log, "post_message", Effect::External))
        .tool(noted(log, "delete_file", Effect::Write))
        .tool(noted(log, "change_password", Effect::Write))
        .tool(noted(log, "transfer_money", Effect::Pay))
}

/// Returns the injected text, as a result or as the description of a failure.
fn page(attack: &Attack, fails: bool) -> impl ropewalk_core::Tool + use<> {
    let text = attack.text.clone();
    tool_fn("read_page", "reads a page", move |_: Anything| {
        let text = text.clone();
        async move {
            match fails {
                true => Err(ToolError::failed(text)),
                false => Ok(ToolOutput::text(text)),
            }
        }
    })
    .with_effect(Effect::Read)
}

fn reading() -> Vec<(&'static str, Value)> {
    vec![("read_page", json!({}))]
}

type Ran = std::result::Result<ropewalk_agents::RunResult, AgentError>;

/// A way of a text into a conversation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// The result of a tool.
    Result,
    /// The error message of a tool.
    Failure,
    /// A document in the input, inserted by a prompt.
    Upload,
    /// An earlier run of the same conversation.
    Earlier,
    /// A summary of a conversation that a model wrote.
    Summary,
    /// What the model itself had said in a turn whose source is forgotten.
    Echo,
    /// A passage that a retriever found.
    Passage,
    /// What an agent that is a tool answers.
    Inner,
    /// A tool result of the agent that hands over.
    Handover,
    /// An observation of a model without tools.
    ReAct,
}

const WAYS: [Way; 10] = [
    Way::Result,
    Way::Failure,
    Way::Upload,
    Way::Earlier,
    Way::Summary,
    Way::Echo,
    Way::Passage,
    Way::Inner,
    Way::Handover,
    Way::ReAct,
];

/// Finds the injected text.
struct Shelf(String);

#[async_trait]
impl Retriever for Shelf {
    async fn retrieve(&self, _: &str, _: usize) -> Result<Vec<Passage>> {
        Ok(vec![Passage::new(self.0.clone(), 1.0, Source::new("d"))])
    }
}

async fn attacked<P: ToolPolicy + Copy + 'static>(
    attack: &Attack,
    way: Way,
    policy: P,
) -> (Ran, Vec<String>) {
    let log = Log::default();
    let obeys = |plan: &[(&'static str, Value)]| obedient(attack, plan, true);
    let quiet = |text: &str| ScriptedModel::new().reply(text);
    let says = |text: &str| Input::new(text).conversation("c");
    let history = Arc::new(InMemoryHistory::new());
    let remember =
        |policy: Arc<dyn ropewalk_agents::MemoryPolicy>| Memory::new(Arc::clone(&history), policy);
    // One run in which a harmless model reads the page.
    let earlier = |answer: &str| {
        let model = ScriptedModel::new()
            .tool_call("read_page", json!({}))
            .reply(answer);
        agent(model, attack, &log, policy).memory(remember(Arc::new(Buffer)))
    };
    let ran = match way {
        Way::Result => {
            agent(obeys(&reading()), attack, &log, policy)
                .run("read")
                .await
        }
        Way::Failure => {
            let agent = Agent::new(obeys(&reading())).tool(page(attack, true));
            armed(agent, &log).policy(policy).run("read").await
        }
        Way::Upload => {
            let prompt = ChatPrompt::new().user("Summarise: {document}");
            let vars = Vars::new().untrusted("document", &attack.text).with_seed(1);
            let messages = prompt.format(&vars).unwrap().messages;
            agent(obeys(&[]), attack, &log, policy).run(messages).await
        }
        Way::Earlier => {
            earlier("Nothing of note.").run(says("read")).await.unwrap();
            let agent = agent(obeys(&[]), attack, &log, policy);
            agent
                .memory(remember(Arc::new(Buffer)))
                .run(says("thank you"))
                .await
        }
        Way::Summary => {
            earlier("ok").run(says("read")).await.unwrap();
            let summary = Summary::new(quiet(&attack.text)).keep_turns(0);
            let agent = agent(obeys(&[]), attack, &log, policy);
            agent
                .memory(remember(Arc::new(summary)))
                .run(says("go on"))
                .await
        }
        Way::Echo => {
            earlier("ok").run(says("read")).await.unwrap();
            // A second turn in which the model repeats the text; the first is then forgotten.
            let echo = agent(quiet(&attack.text), attack, &log, policy);
            let echo = echo.memory(remember(Arc::new(Buffer)));
            echo.run(says("what did it say?")).await.unwrap();
            let agent = agent(obeys(&[]), attack, &log, policy);
            agent
                .memory(remember(Arc::new(Window::new(1))))
                .run(says("go on"))
                .await
        }
        Way::Passage => {
            let found = RetrieverMemory::new(Shelf(attack.text.clone()));
            let agent = agent(obeys(&[]), attack, &log, policy);
            agent
                .memory(remember(Arc::new(found)))
                .run(says("help"))
                .await
        }
        Way::Inner => {
            let reader = Agent::new(quiet(&attack.text)).into_tool("reader", "reads pages");
            let plan = [("reader", json!({"input": "read"}))];
            let agent = Agent::new(obeys(&plan)).tool(reader);
            armed(agent, &log).policy(policy).run("read").await
        }
        Way::Handover => {
            let other = Agent::new(obeys(&[])).name("other");
            let other = armed(other, &log).policy(policy);
            let plan = ScriptedModel::new()
                .tool_call("read_page", json!({}))
                .tool_call("transfer_to_other", json!({}));
            let front = Agent::new(plan).name("front").tool(page(attack, false));
            front.handoff(other).run("read").await
        }
        Way::ReAct => {
            let model = obedient(attack, &reading(), false);
            agent(model, attack, &log, policy).run("read").await
        }
    };
    let log = log.lock().unwrap().clone();
    (ran, log)
}

fn expected(attack: &Attack) -> String {
    format!(
        "{}({})",
        attack.tool,
        attack.arguments["text"].as_str().unwrap()
    )
}

/// Whether the model asked for the call, and what it was told.
fn refusal(ran: &ropewalk_agents::RunResult, attack: &Attack) -> Option<String> {
    let results = ran.state.messages.iter().flat_map(Message::results);
    let mut mine = results.filter(|r| r.name == attack.tool && r.is_error);
    mine.next().map(ropewalk_core::ToolResult::text)
}

#[tokio::test]
async fn with_the_gate_no_side_effect_fires() {
    let corpus = corpus();
    assert!(corpus.len() >= 20);
    for attack in &corpus {
        for way in WAYS {
            let (ran, fired) = attacked(attack, way, Gate::new()).await;
            let place = format!("{} by {way:?}: {}", attack.kind, attack.text);
            assert!(fired.is_empty(), "{place}: {fired:?}");
            let ran = ran.unwrap_or_else(|e| panic!("{place}: {e}"));
            let told = refusal(&ran, attack);
            let told = told.unwrap_or_else(|| panic!("{place}: the model did not obey"));
            assert!(told.contains("text from outside"), "{place}: {told}");
        }
    }
}

#[tokio::test]
async fn without_the_gate_the_tool_fires_every_time() {
    for attack in corpus() {
        for way in WAYS {
            let (ran, fired) = attacked(&attack, way, AllowAll).await;
            let place = format!("{} by {way:?}: {}", attack.kind, attack.text);
            assert_eq!(fired, [expected(&attack)], "{place}");
            assert!(ran.is_ok(), "{place}: {ran:?}");
        }
    }
}

#[tokio::test]
async fn with_somebody_to_ask_the_run_pauses() {
    for attack in corpus() {
        let log = Log::default();
        let model = obedient(&attack, &reading(), true);
        let agent = agent(model, &attack, &log, Gate::new()).approvals(true);
        let Err(AgentError::NeedsApproval { state }) = agent.run("read").await else {
            panic!("{}: no pause", attack.text);
        };
        let waiting: Vec<&str> = state.waiting().map(|c| c.name.as_str()).collect();
        assert_eq!(waiting, [attack.tool.as_str()]);
        assert!(log.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_the_user_asks_for_is_done_as_long_as_nothing_untrusted_was_read() {
    let attack = &corpus()[0];
    let log = Log::default();
    let plan = [("send_mail", json!({"text": "hi"}))];
    let model = obedient(
        &Attack {
            text: "never read".into(),
            tool: "none".into(),
            ..attack.clone()
        },
        &plan,
        true,
    );
    let agent = agent(model, attack, &log, Gate::new());
    agent.run("mail hi").await.unwrap();
    assert_eq!(*log.lock().unwrap(), ["send_mail(hi)"]);
}
