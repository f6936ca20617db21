//! "Did you mean": the nearest known word, and the words that other tools use for the same thing.

/// What PEFT, Transformers, Axolotl, LLaMA-Factory and DVC call a setting, and what it is called here.
const FOREIGN: &[(&str, &str)] = &[
    ("r", "rank"),
    ("lora_r", "rank"),
    ("lora_rank", "rank"),
    ("lora_alpha", "alpha"),
    ("lora_dropout", "dropout"),
    ("target_modules", "targets"),
    ("lora_target", "targets"),
    ("lora_target_modules", "targets"),
    ("use_dora", "dora"),
    ("lr", "learning_rate"),
    ("wd", "weight_decay"),
    ("betas", "beta1"),
    ("eps", "epsilon"),
    ("adam_epsilon", "epsilon"),
    ("num_train_epochs", "epochs"),
    ("num_epochs", "epochs"),
    ("max_steps", "steps"),
    ("batch_size", "size"),
    ("train_batch_size", "size"),
    ("per_device_train_batch_size", "micro"),
    ("micro_batch_size", "micro"),
    ("gradient_accumulation_steps", "batch"),
    ("max_grad_norm", "clip"),
    ("gradient_clipping", "clip"),
    ("lr_scheduler_type", "schedule"),
    ("lr_scheduler", "schedule"),
    ("warmup_steps", "warmup"),
    ("warmup_ratio", "warmup"),
    ("optim", "optimizer"),
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
    ("foreach", "matrix"),
    ("type", "kind"),
    ("dtype", "precision"),
    ("vocab_size", "vocabulary"),
    ("eval_steps", "every"),
    ("load_best_model_at_end", "keep"),
    ("early_stopping_patience", "patience"),
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
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count().max(word.chars().count()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A hint: the nearest known word, or all of them.
pub fn did_you_mean<'a, S: AsRef<str> + ?Sized + 'a>(word: &str, known: impl IntoIterator<Item = &'a S>) -> String {
    let known: Vec<&str> = known.into_iter().map(AsRef::as_ref).collect();
    match nearest(word, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "there is none to choose from".to_owned(),
        None => format!("known: {}", crate::one_of::listed(&known)),
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
        assert_eq!(did_you_mean("zzz", ["rank", "alpha"]), "known: `rank`, `alpha`");
    }
}
