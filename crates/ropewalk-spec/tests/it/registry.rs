//! A family that is not in the tables.

use std::fs;
use std::sync::Arc;

use ropewalk_spec::testing::{Seeded, TempDir};
use ropewalk_spec::{
    Architecture, Error, Family, ModelSpec, Registry, Renamed, Result, Role, TensorSource,
};
use serde_json::{Value, json};

struct Tern;

fn stored_name(name: &str) -> String {
    name.replace("model.", "tern.").replace("self_attn.", "")
}

impl Architecture for Tern {
    fn name(&self) -> &str {
        "TernModel"
    }

    fn spec(&self, config: &Value) -> Result<ModelSpec> {
        let size = |key: &str| match config[key].as_u64() {
            Some(n) => Ok(n as usize),
            None => Err(Error::invalid_key("config.json", key, "is not a count")),
        };
        Ok(ModelSpec::new(
            Family::Llama,
            [size("words")?, size("width")?, 2, 4, size("width")? * 2],
        ))
    }

    fn tensors(&self, stored: Arc<dyn TensorSource>) -> Arc<dyn TensorSource> {
        Arc::new(Renamed::new(stored, stored_name))
    }
}

#[test]
fn a_family_of_a_program_opens_its_directories() {
    let dir = TempDir::new().unwrap();
    let config = json!({"architectures": ["TernModel"], "words": 50, "width": 32});
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let spec = Tern.spec(&config).unwrap();
    let weights = Seeded::new(spec.clone(), 3).source();
    let expected = spec
        .read(&weights, Role::K, Some(1))
        .unwrap()
        .unwrap()
        .data
        .into_owned();
    let stored = weights.clone().renamed(stored_name);
    assert!(
        stored
            .tensor("tern.layers.1.k_proj.weight")
            .unwrap()
            .is_some()
    );
    stored.save(dir.join("model.safetensors")).unwrap();

    let registry = Registry::new().with(Tern);
    assert_eq!(
        format!("{registry:?}"),
        "Registry { added: [\"TernModel\"] }"
    );
    let (read, source) = registry.open(dir.path()).unwrap();
    assert_eq!(read, spec);
    read.check(&*source).unwrap();
    let found = read.read(&*source, Role::K, Some(1)).unwrap().unwrap();
    assert_eq!(*found.data, *expected);

    let message = Registry::new()
        .open(dir.path())
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("unsupported architecture `TernModel`"),
        "{message}"
    );
    let wrong = json!({"architectures": ["TernModel"], "words": "many"});
    fs::write(dir.join("config.json"), wrong.to_string()).unwrap();
    let message = registry.open(dir.path()).map(drop).unwrap_err().to_string();
    assert_eq!(message, "config.json: `words` is not a count");
}

#[test]
fn the_families_of_the_crate_open_too() {
    let dir = TempDir::new().unwrap();
    let spec = ModelSpec::new(Family::Llama, [50, 32, 2, 4, 64]);
    let model = Seeded::new(spec.clone(), 3);
    model
        .write_hf(dir.path(), |_| ropewalk_spec::Dtype::F32, 1)
        .unwrap();
    let (read, source) = Registry::new().with(Tern).open(dir.path()).unwrap();
    assert_eq!(read, spec);
    read.check(&*source).unwrap();
}
