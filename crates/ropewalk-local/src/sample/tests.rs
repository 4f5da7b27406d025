use super::*;

fn left(options: &SamplerOptions, history: &[u32], logits: &[f32]) -> Vec<(u32, f64)> {
    let mut sampler = Sampler::new(options).unwrap();
    let c = sampler.candidates(history, logits);
    let mut out: Vec<_> = c
        .items()
        .iter()
        .map(|c| c.id)
        .zip(c.probabilities())
        .collect();
    out.sort_by_key(|&(id, _)| id);
    out
}

fn ids(options: &SamplerOptions, logits: &[f32]) -> Vec<u32> {
    left(options, &[], logits)
        .into_iter()
        .map(|(id, _)| id)
        .collect()
}

/// ln of 0.5, 0.25, 0.125, 0.0625, 0.0625.
fn halves() -> Vec<f32> {
    [0.5f32, 0.25, 0.125, 0.0625, 0.0625]
        .iter()
        .map(|p| p.ln())
        .collect()
}

#[test]
fn greedy_takes_the_best_and_the_lower_id_in_a_tie() {
    let mut s = Sampler::new(&SamplerOptions::greedy()).unwrap();
    assert_eq!(s.sample(&[], &[0.0, 2.0, 2.0, 1.0], None).unwrap().id, 1);
}

#[test]
fn filters_keep_what_their_papers_say() {
    let base = SamplerOptions::default().with_temperature(1.0);
    assert_eq!(ids(&base.clone().with_top_k(2), &halves()), [0, 1]);
    assert_eq!(ids(&base.clone().with_top_p(0.75), &halves()), [0, 1]);
    assert_eq!(ids(&base.clone().with_top_p(0.76), &halves()), [0, 1, 2]);
    assert_eq!(ids(&base.clone().with_top_p(0.0), &halves()), [0]);
    assert_eq!(ids(&base.clone().with_min_p(0.3), &halves()), [0, 1]);
    // Entropy is 1.3 nats: 0.25 (1.386) is the most typical, then 0.5 (0.693).
    let mut typical = base;
    typical.typical_p = 0.2;
    assert_eq!(ids(&typical, &halves()), [1]);
    typical.typical_p = 0.5;
    assert_eq!(ids(&typical, &halves()), [0, 1]);
}

#[test]
fn penalties_follow_their_definitions() {
    let mut o = SamplerOptions::default().with_temperature(1.0);
    o.penalties = Penalties {
        repetition: 2.0,
        frequency: 0.5,
        presence: 0.25,
        last_n: None,
    };
    let mut s = Sampler::new(&o).unwrap();
    let c = s.candidates(&[0, 0, 1], &[4.0, -1.0, 3.0]);
    let logit = |id: u32| c.items().iter().find(|c| c.id == id).unwrap().logit;
    assert_eq!(
        [logit(0), logit(1), logit(2)],
        [4.0 / 2.0 - 1.25, -2.0 - 0.75, 3.0]
    );
}

#[test]
fn frequency_and_presence_leave_the_prompt_alone() {
    let mut o = SamplerOptions::default().with_temperature(1.0);
    o.penalties.repetition = 2.0;
    o.penalties.frequency = 0.5;
    o.penalties.presence = 0.25;
    let mut s = Sampler::new(&o).unwrap().after_prompt(3);
    let c = s.candidates(&[0, 0, 1, 1], &[4.0, 8.0, 3.0]);
    let logits: Vec<f32> = c.items().iter().map(|c| c.logit).collect();
    assert_eq!(logits, [4.0 / 2.0, 8.0 / 2.0 - 0.75, 3.0]);
}

#[test]
fn top_p_of_a_large_vocabulary_equals_sorting_all_of_it() {
    let mut rng = Rng::new(9);
    let logits: Vec<f32> = (0..5_000).map(|_| (6.0 * rng.next_f64()) as f32).collect();
    let mut sorted = Candidates::default();
    sorted.fill(&logits);
    sorted.sort();
    // From one candidate to nearly all, across the steps in which the best are sorted.
    for (mass, least) in [
        (0.0, 1),
        (0.05, 20),
        (0.3, 256),
        (0.9, 1_500),
        (0.999, 4_000),
    ] {
        let mut found = Candidates::default();
        found.fill(&logits);
        found.keep_mass(mass);
        let mut sum = 0.0;
        let probabilities = sorted.probabilities();
        let below = probabilities.iter().take_while(|&&p| {
            sum += p;
            sum < mass
        });
        let want = (below.count() + 1).min(logits.len());
        assert!(want >= least, "{mass} keeps {want}");
        // The last candidate may fall either way when the sums round differently.
        let n = found.items().len();
        assert!(n.abs_diff(want) <= 1, "{mass}: {n} instead of {want}");
        assert_eq!(found.items()[..n.min(want)], sorted.items()[..n.min(want)]);
    }
}

#[test]
fn window_of_penalties_forgets_older_tokens() {
    let mut o = SamplerOptions::greedy();
    o.penalties.presence = 10.0;
    o.penalties.last_n = Some(1);
    let mut s = Sampler::new(&o).unwrap();
    assert_eq!(s.sample(&[0, 1], &[3.0, 2.0, 1.0], None).unwrap().id, 0);
    assert_eq!(s.sample(&[1, 0], &[3.0, 2.0, 1.0], None).unwrap().id, 1);
}

#[test]
fn bias_bans_and_forces() {
    let mut o = SamplerOptions::greedy();
    o.logit_bias = vec![(0, f32::NEG_INFINITY)];
    assert_eq!(
        Sampler::new(&o)
            .unwrap()
            .sample(&[], &[3.0, 2.0, 1.0], None)
            .unwrap()
            .id,
        1
    );
    o.logit_bias = vec![(2, 100.0), (9, 1.0)];
    assert_eq!(
        Sampler::new(&o)
            .unwrap()
            .sample(&[], &[3.0, 2.0, 1.0], None)
            .unwrap()
            .id,
        2
    );
}

#[test]
fn draws_follow_the_probabilities() {
    let o = SamplerOptions::default().with_temperature(1.0).with_seed(3);
    let mut s = Sampler::new(&o).unwrap();
    let mut n = [0u32; 5];
    for _ in 0..20_000 {
        n[s.sample(&[], &halves(), None).unwrap().id as usize] += 1;
    }
    for (got, want) in n.iter().zip([0.5, 0.25, 0.125, 0.0625, 0.0625]) {
        let share = f64::from(*got) / 20_000.0;
        // Four standard deviations of a binomial share.
        assert!(
            (share - want).abs() < 4.0 * (want * (1.0 - want) / 20_000.0f64).sqrt(),
            "{n:?}"
        );
    }
}

#[test]
fn temperature_sharpens() {
    let cold = left(
        &SamplerOptions::default().with_temperature(0.5),
        &[],
        &halves(),
    );
    let want = [0.25, 0.0625, 0.015_625, 0.003_906_25, 0.003_906_25];
    let sum: f64 = want.iter().sum();
    for ((_, p), w) in cold.iter().zip(want) {
        assert!((p - w / sum).abs() < 1e-6);
    }
}

#[test]
fn logprobs_are_the_models_own() {
    let o = SamplerOptions::default()
        .with_temperature(0.1)
        .with_top_k(1);
    let got = Sampler::new(&o)
        .unwrap()
        .sample(&[], &halves(), Some(2))
        .unwrap();
    assert_eq!(got.id, 0);
    assert!((got.logprob.unwrap() - 0.5f32.ln()).abs() < 1e-6);
    assert_eq!(got.top.iter().map(|t| t.0).collect::<Vec<_>>(), [0, 1]);
    assert!((got.top[1].1 - 0.25f32.ln()).abs() < 1e-6);
}

#[test]
fn bad_options_and_empty_rows_are_errors() {
    let bad = Sampler::new(&SamplerOptions::default().with_top_p(1.5)).unwrap_err();
    assert_eq!(bad.to_string(), "top_p is 1.5; use 0 to 1");
    let bad = Sampler::new(&SamplerOptions::default().with_temperature(-1.0)).unwrap_err();
    assert_eq!(bad.to_string(), "temperature is -1; use 0 or more");
    let mut nan = SamplerOptions::greedy();
    nan.logit_bias = vec![(0, f32::NAN)];
    assert!(
        Sampler::new(&nan)
            .unwrap_err()
            .to_string()
            .contains("logit bias")
    );
    let mut endless = SamplerOptions::greedy();
    endless.penalties.frequency = f32::INFINITY;
    assert!(
        Sampler::new(&endless)
            .unwrap_err()
            .to_string()
            .contains("frequency")
    );
    let mut s = Sampler::new(&SamplerOptions::greedy()).unwrap();
    assert!(matches!(
        s.sample(&[], &[], None),
        Err(Error::NoCandidates { vocab: 0 })
    ));
    let nan = [f32::NAN, f32::NEG_INFINITY];
    assert!(matches!(
        s.sample(&[], &nan, None),
        Err(Error::NoCandidates { .. })
    ));
    let mut hot = Sampler::new(&SamplerOptions::balanced()).unwrap();
    assert!(matches!(
        hot.sample(&[], &nan, None),
        Err(Error::NoCandidates { .. })
    ));
}
