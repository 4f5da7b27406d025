//! From `provider/model` to a model.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ropewalk_core::{ChatModel, DynChatModel, DynEmbeddingModel, Error, ErrorKind, Result};
use ropewalk_http::{Client, ClientOptions};

use crate::anthropic::Anthropic;
use crate::dialect::Dialect;
use crate::gemini::Gemini;
use crate::key::{ApiKey, KeyDiagnosis};
use crate::ollama::Ollama;
use crate::openai::OpenAi;
use crate::presets;
use crate::settings::Settings;

/// Providers with a wire of their own.
const NATIVE: [&str; 3] = ["anthropic", "gemini", "ollama"];

type Factory = Arc<dyn Fn(&str) -> Result<DynChatModel> + Send + Sync>;

/// Returns the chat model that `provider/model` names, with the key and address that the
/// environment holds: [`Registry::from_env`] and [`Registry::connect`].
///
/// ```no_run
/// # async fn f() -> ropewalk_core::Result<()> {
/// use ropewalk_core::ChatModelExt;
///
/// let model = ropewalk_providers::connect("anthropic/claude-sonnet-4-5")?;
/// println!("{}", model.ask("Who was Grace Hopper?").await?);
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`Registry::connect`].
pub fn connect(model: &str) -> Result<DynChatModel> {
    Registry::from_env()?.connect(model)
}

/// Makes models of names, with keys and addresses from [`Settings`].
///
/// Nothing is guessed from the name of a model: what stands before the first slash is the provider.
///
/// ```
/// use ropewalk_providers::{Registry, Settings};
///
/// let settings = Settings::new().with("GROQ_API_KEY", "gsk_…");
/// let registry = Registry::new(settings)?;
/// let model = registry.connect("groq/openai/gpt-oss-20b")?;
/// assert_eq!((model.provider(), model.model()), ("groq", "openai/gpt-oss-20b"));
///
/// let error = registry.connect("gpt-4o-mini").err().map(|e| e.to_string()).unwrap_or_default();
/// assert!(error.contains("provider/model"), "{error}");
/// # Ok::<(), ropewalk_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Registry {
    settings: Settings,
    client: Client,
    own: BTreeMap<String, Factory>,
}

/// One provider a [`Registry`] knows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderStatus {
    /// The name before the slash.
    pub name: String,
    /// The setting its key is read from; empty when it needs none.
    pub variable: String,
    /// What is to be said of its key; `None` when it needs none.
    pub key: Option<KeyDiagnosis>,
}

impl ProviderStatus {
    /// Returns whether models of this provider can be made.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(
            self.key,
            None | Some(KeyDiagnosis::Ok | KeyDiagnosis::WrongPrefix)
        )
    }
}

impl Registry {
    /// Creates a registry with the default HTTP client.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when no HTTP client can be made.
    pub fn new(settings: Settings) -> Result<Self> {
        let client = Client::new(ClientOptions::default())?;
        Ok(Self {
            settings,
            client,
            own: BTreeMap::new(),
        })
    }

    /// Creates a registry from the process's environment. A `.env` file is read only by
    /// [`Settings::with_env_file`].
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_env() -> Result<Self> {
        Self::new(Settings::from_env())
    }

    /// Sets the HTTP client of all models: time-outs, retry, proxy.
    #[must_use]
    pub fn with_client(mut self, client: Client) -> Self {
        self.client = client;
        self
    }

    /// Adds a provider of one's own, or replaces one: `make` gets what follows the slash. With it
    /// local models are connected to by name, too.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use ropewalk_core::testing::ScriptedModel;
    /// use ropewalk_providers::{Registry, Settings};
    ///
    /// let registry = Registry::new(Settings::new())?
    ///     .with("local", |path| Ok(Arc::new(ScriptedModel::echo().with_name("local", path))));
    /// assert_eq!(registry.connect("local/tiny.gguf")?.model(), "tiny.gguf");
    /// # Ok::<(), ropewalk_core::Error>(())
    /// ```
    #[must_use]
    pub fn with(
        mut self,
        provider: impl Into<String>,
        make: impl Fn(&str) -> Result<DynChatModel> + Send + Sync + 'static,
    ) -> Self {
        self.own.insert(provider.into(), Arc::new(make));
        self
    }

    /// Returns the chat model that `provider/model` names.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a name without a slash or an unknown provider (the known ones
    /// are listed), [`ErrorKind::Authentication`] naming the setting when a key is missing.
    pub fn connect(&self, model: &str) -> Result<DynChatModel> {
        let (provider, name) = self.split(model)?;
        if let Some(make) = self.own.get(provider) {
            return make(name);
        }
        Ok(match provider {
            "anthropic" => shared(self.anthropic()?.chat(name)),
            #[cfg(feature = "bedrock")]
            "bedrock" => {
                let client = (self.client.transport(), self.client.options().clone());
                let bedrock = crate::Bedrock::from_settings(&self.settings)?;
                shared(bedrock.with_transport(client.0, client.1).chat(name))
            }
            "gemini" => shared(self.gemini()?.chat(name)),
            "ollama" => shared(self.ollama()?.chat(name)),
            _ => shared(self.compatible(provider)?.chat(name)),
        })
    }

    /// Returns the embedding model that `provider/model` names.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn embedding(&self, model: &str) -> Result<DynEmbeddingModel> {
        let (provider, name) = self.split(model)?;
        Ok(match provider {
            "anthropic" => {
                let message = "Anthropic has no embedding models; Voyage is what it points to";
                return Err(Error::new(ErrorKind::Unsupported, message).with_provider("anthropic"));
            }
            "gemini" => Arc::new(self.gemini()?.embeddings(name)),
            "ollama" => Arc::new(self.ollama()?.embeddings(name)),
            _ => Arc::new(self.compatible(provider)?.embeddings(name)),
        })
    }

    /// Returns OpenAI or a server compatible with it, by the name of its preset.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn compatible(&self, preset: &str) -> Result<OpenAi> {
        let Some(dialect) = presets::preset(preset) else {
            let names = self.names();
            let near = names.iter().find(|name| is_near(name, preset));
            let near = near.map_or(String::new(), |n| format!(" (did you mean {n:?}?)"));
            let known = names.join(", ");
            let message = format!("there is no provider {preset:?}{near}; known are {known}");
            return Err(Error::new(ErrorKind::Configuration, message));
        };
        OpenAi::from_settings(dialect, &self.settings)
            .map(|provider| provider.with_client(self.client.clone()))
    }

    /// Returns Anthropic.
    ///
    /// # Errors
    /// [`ErrorKind::Authentication`] when the key is missing.
    pub fn anthropic(&self) -> Result<Anthropic> {
        Ok(Anthropic::from_settings(&self.settings)?.with_client(self.client.clone()))
    }

    /// Returns Gemini.
    ///
    /// # Errors
    /// [`ErrorKind::Authentication`] when the key is missing.
    pub fn gemini(&self) -> Result<Gemini> {
        Ok(Gemini::from_settings(&self.settings)?.with_client(self.client.clone()))
    }

    /// Returns Ollama, on this machine unless `OLLAMA_HOST` says otherwise.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when no HTTP client can be made.
    pub fn ollama(&self) -> Result<Ollama> {
        Ok(Ollama::from_settings(&self.settings)?.with_client(self.client.clone()))
    }

    /// Returns the names before the slash that are known, in alphabetical order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = NATIVE.map(str::to_owned).to_vec();
        #[cfg(feature = "bedrock")]
        names.push("bedrock".to_owned());
        names.extend(presets::ALL.iter().map(|d| d.name.to_owned()));
        names.extend(self.own.keys().cloned());
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Says of every provider whether its key is there and looks right; no key is printed.
    #[must_use]
    pub fn diagnose(&self) -> Vec<ProviderStatus> {
        let status = |name: &str, variable: &str, prefixes: &[&str], needed: bool| ProviderStatus {
            name: name.to_owned(),
            variable: variable.to_owned(),
            key: needed.then(|| {
                let key = self.settings.get(variable).unwrap_or("");
                ApiKey::new(key).diagnose(prefixes)
            }),
        };
        // The other setting counts where the usual one is missing.
        let set = |usual: &'static str, other: &'static str| match self.settings.get(usual) {
            None if self.settings.get(other).is_some() => other,
            _ => usual,
        };
        let claude = set("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN");
        let of_claude: &[&str] = match claude {
            "ANTHROPIC_API_KEY" => &["sk-ant-"],
            _ => &[],
        };
        let gemini = set("GEMINI_API_KEY", "GOOGLE_API_KEY");
        let mut all = vec![
            status("anthropic", claude, of_claude, true),
            status("gemini", gemini, &["AIza", "AQ."], true),
            status("ollama", "", &[], false),
        ];
        #[cfg(feature = "bedrock")]
        {
            let aws = set("AWS_BEARER_TOKEN_BEDROCK", "AWS_SECRET_ACCESS_KEY");
            all.push(status("bedrock", aws, &[], true));
        }
        let preset = |d: &Dialect| status(d.name, d.key_variable, d.key_prefixes, d.needs_key);
        let presets = presets::ALL.iter().filter(|d| !NATIVE.contains(&d.name));
        all.extend(presets.map(preset));
        all.extend(self.own.keys().map(|name| status(name, "", &[], false)));
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn split<'m>(&self, model: &'m str) -> Result<(&'m str, &'m str)> {
        let parts = model.split_once('/');
        if let Some((provider, name)) = parts.filter(|(p, n)| !p.is_empty() && !n.is_empty()) {
            return Ok((provider, name));
        }
        let known = self.names().join(", ");
        let message = format!(
            "{model:?} does not name a model as provider/model, for example openai/gpt-4o-mini; known \
             providers are {known}"
        );
        Err(Error::new(ErrorKind::Configuration, message))
    }
}

/// Returns whether two names differ by one letter (added, left out, replaced) or by two neighbours that
/// changed places, upper and lower case being the same.
fn is_near(name: &str, written: &str) -> bool {
    let (a, b) = (name.as_bytes(), written.as_bytes());
    let same = |(x, y): (&u8, &u8)| x.eq_ignore_ascii_case(y);
    let start = a.iter().zip(b).take_while(|p| same(*p)).count();
    let (a, b) = (&a[start..], &b[start..]);
    let end = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|p| same(*p))
        .count();
    let (a, b) = (&a[..a.len() - end], &b[..b.len() - end]);
    let swapped = a.len() == 2 && b.len() == 2 && same((&a[0], &b[1])) && same((&a[1], &b[0]));
    a.len() <= 1 && b.len() <= 1 || swapped
}

fn shared(model: impl ChatModel + 'static) -> DynChatModel {
    Arc::new(model)
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("settings", &self.settings)
            .field("own", &self.own.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
