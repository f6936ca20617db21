//! "Did you mean": the nearest known word, and the words that other tools use for the same thing.

/// What PEFT, Transformers, Axolotl, LLaMA-Factory and DVC call a setting, and what it is called here.
const FOREIGN: &[(&str, &str)] = &[
    ("r", "rank"),
    ("lora_r", "rank"),
    ("lora_rank", "rank"),
    ("lora_alpha", "alpha"),
    ("lora_dropout", "dropout"),
    ("vera_dropout", "dropout"),
    ("adapter_dropout", "dropout"),
    ("projection_prng_key", "projection_seed"),
    ("feedforward_modules", "feedforward"),
    ("reduction_factor", "size"),
    ("reduction_factor", "reduction"),
    ("bottleneck_size", "size"),
    ("non_linearity", "activation"),
    ("scaling", "scale"),
    ("init_weights", "init"),
    ("seq_bn", "pfeiffer"),
    ("double_seq_bn", "houlsby"),
    ("par_bn", "parallel"),
    ("swish", "silu"),
    ("target_modules", "targets"),
    ("lora_target", "targets"),
    ("lora_target_modules", "targets"),
    ("q_proj", "attention.q"),
    ("k_proj", "attention.k"),
    ("v_proj", "attention.v"),
    ("o_proj", "attention.o"),
    ("gate_proj", "mlp.gate"),
    ("up_proj", "mlp.up"),
    ("down_proj", "mlp.down"),
    ("lr", "learning_rate"),
    ("wd", "weight_decay"),
    ("betas", "beta1"),
    ("adam_beta1", "beta1"),
    ("adam_beta2", "beta2"),
    ("eps", "epsilon"),
    ("adam_epsilon", "epsilon"),
    ("num_train_epochs", "epochs"),
    ("num_epochs", "epochs"),
    ("max_steps", "steps"),
    ("batch_size", "size"),
    ("batch_size", "batch"),
    ("train_batch_size", "size"),
    ("train_batch_size", "batch"),
    ("per_device_train_batch_size", "micro"),
    ("per_device_train_batch_size", "batch"),
    ("micro_batch_size", "micro"),
    ("micro_batch_size", "batch"),
    ("gradient_accumulation_steps", "micro"),
    ("gradient_accumulation_steps", "batch"),
    ("max_grad_norm", "clip"),
    ("gradient_clipping", "clip"),
    ("lr_scheduler_type", "schedule"),
    ("lr_scheduler", "schedule"),
    ("warmup_steps", "warmup"),
    ("warmup_ratio", "warmup"),
    ("optim", "optimizer"),
    ("bf16", "precision"),
    ("fp16", "precision"),
    ("dtype", "precision"),
    ("torch_dtype", "precision"),
    ("activation_checkpointing", "gradient_checkpointing"),
    ("bfloat16", "bf16"),
    ("float16", "fp16"),
    ("half", "fp16"),
    ("base_model", "model"),
    ("model_name_or_path", "model"),
    ("dataset", "data"),
    ("datasets", "data"),
    ("max_seq_length", "max_length"),
    ("sequence_len", "max_length"),
    ("cutoff_len", "max_length"),
    ("deps", "in"),
    ("outs", "out"),
    ("cmd", "run"),
    ("variables", "vars"),
    ("params", "vars"),
    ("jobs", "stages"),
    ("foreach", "matrix"),
    ("type", "kind"),
    ("dtype", "precision"),
    ("vocab_size", "vocabulary"),
    ("eval_steps", "every"),
    ("load_best_model_at_end", "keep"),
    ("early_stopping_patience", "patience"),
    ("gpus", "gpu"),
    ("num_gpus", "gpu"),
    ("nvidia.com/gpu", "gpu"),
    ("cpus", "cpu"),
    ("num_cpus", "cpu"),
    ("cores", "cpu"),
    ("threads", "cpu"),
    ("mem", "memory"),
    ("mem_mb", "memory"),
    ("mem_gb", "memory"),
    ("ram", "memory"),
    ("retries", "retry"),
    ("max_retries", "retry"),
    ("maxRetries", "retry"),
    ("attempts", "retry"),
    ("time", "timeout"),
    ("runtime", "timeout"),
    ("walltime", "timeout"),
    ("time_limit", "timeout"),
];

/// Where settings stand whose names other tools write at the top of their configuration.
const ELSEWHERE: &[(&str, &str)] = &[
    ("rank", "adapter: {lora: {rank: …}}"),
    ("alpha", "adapter: {lora: {alpha: …}}"),
    ("dropout", "adapter: {lora: {dropout: …}}"),
    ("targets", "adapter: {lora: {targets: …}}"),
    ("learning_rate", "optimizer: {adamw: {learning_rate: …}}"),
    ("weight_decay", "optimizer: {adamw: {weight_decay: …}}"),
    ("beta1", "optimizer: {adamw: {beta1: …}}"),
    ("beta2", "optimizer: {adamw: {beta2: …}}"),
    ("epsilon", "optimizer: {adamw: {epsilon: …}}"),
    ("warmup", "schedule: {linear: {warmup: …}}"),
    ("max_new_tokens", "protocol: {generate: {max_new_tokens: …}}"),
    ("every", "validate: {every: …}"),
    ("keep", "validate: {keep: {best: loss}}"),
    ("rows", "validate: {rows: …}"),
    ("patience", "validate: {patience: …}"),
    ("use_dora", "adapter: {dora: {…}}"),
    ("gpu", "resources: {gpu: …}"),
    ("cpu", "resources: {cpu: …}"),
    ("memory", "resources: {memory: …}"),
    ("parameters_like", "rank: {parameters_like: {…}}"),
    ("parameters_like", "tokens: {parameters_like: {…}}"),
    ("parameters_like", "size: {parameters_like: {…}}"),
];

/// The known word nearest to `word`: by another tool's name for it, else by spelling.
pub fn nearest<'a, S: AsRef<str> + ?Sized + 'a>(word: &str, known: impl IntoIterator<Item = &'a S>) -> Option<&'a str> {
    let known: Vec<&str> = known.into_iter().map(AsRef::as_ref).collect();
    let foreign = FOREIGN.iter().find(|(theirs, ours)| *theirs == word && known.contains(ours));
    if let Some((_, ours)) = foreign {
        return known.iter().copied().find(|k| k == ours);
    }
    known
        .iter()
        .copied()
        .map(|candidate| (strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| {
            let lengths = (candidate.chars().count(), word.chars().count());
            *distance <= (lengths.0.max(lengths.1) / 3).max(1) && *distance < lengths.0.min(lengths.1)
        })
        .min_by(|(one, a), (other, b)| {
            // Of words at the same distance the one that begins alike.
            one.cmp(other).then(strsim::jaro_winkler(word, b).total_cmp(&strsim::jaro_winkler(word, a)))
        })
        .map(|(_, candidate)| candidate)
}

/// Where a word belongs that is known, by its own name or another tool's, but at another place: below one of `known`.
fn elsewhere(word: &str, known: &[&str]) -> Option<&'static str> {
    let ours = FOREIGN.iter().find(|(theirs, _)| *theirs == word).map_or(word, |(_, ours)| ours);
    let forms = ELSEWHERE.iter().filter(|(name, _)| *name == ours).map(|(_, form)| *form);
    forms.into_iter().find(|form| known.iter().any(|known| form.split(':').next() == Some(known)))
}

/// A hint: the nearest known word, or where the word belongs, or all that are known.
pub fn did_you_mean<'a, S: AsRef<str> + ?Sized + 'a>(word: &str, known: impl IntoIterator<Item = &'a S>) -> String {
    let known: Vec<&str> = known.into_iter().map(AsRef::as_ref).collect();
    match nearest(word, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "there is none to choose from".to_owned(),
        None => match elsewhere(word, &known) {
            Some(form) => format!("write `{form}`"),
            None => format!("known: {}", crate::one_of::listed(&known)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_and_foreign_words() {
        assert_eq!(did_you_mean("rnak", ["rank", "alpha"]), "did you mean `rank`?");
        assert_eq!(did_you_mean("r", ["rank", "alpha"]), "did you mean `rank`?");
        assert_eq!(did_you_mean("lora_alpha", ["rank", "alpha"]), "did you mean `alpha`?");
        assert_eq!(did_you_mean("row", ["raw", "rows"]), "did you mean `rows`?");
        assert_eq!(did_you_mean("3", ["1", "2"]), "known: `1`, `2`");
        assert_eq!(did_you_mean("lr", ["optimizer", "steps"]), "write `optimizer: {adamw: {learning_rate: …}}`");
        assert_eq!(did_you_mean("zzz", ["rank", "alpha"]), "known: `rank`, `alpha`");
    }
}
