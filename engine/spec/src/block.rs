//! What a template may define, and which of it a stage's settings need. Knows names; reads no template and no row.

use crate::{
    metric::Metric,
    protocol::Protocol,
    stage::{LanguageModel, LossOn, Objective},
};

/// What a template may define, one block each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Block {
    /// What a model reads.
    Prompt,
    /// What it reads beside the prompt, such as the second of two sentences, or the text that a question is about.
    Pair,
    /// What it is to write.
    Completion,
    /// The answers that count as right: a JSON list of texts.
    References,
    /// The answers to choose from: a JSON list of texts.
    Choices,
    /// What stands between the prompt and each choice, where that differs: a JSON list of as many texts.
    Contexts,
    /// The right class; or the number of the right choice, from 0.
    Label,
    /// Several prompts and completions that follow one another in one row: a JSON list of `[prompt, completion]`.
    Pairs,
    /// Where the answer stands in the pair: a JSON list of `{text, start}`, `start` in characters; empty where there is
    /// none.
    Answers,
}

impl Block {
    /// The blocks, in the order of a result's columns.
    pub const ALL: [Self; 9] = [
        Self::Prompt,
        Self::Pair,
        Self::Completion,
        Self::References,
        Self::Choices,
        Self::Contexts,
        Self::Label,
        Self::Pairs,
        Self::Answers,
    ];

    /// The block's name, which is its column's name too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Pair => "pair",
            Self::Completion => "completion",
            Self::References => "references",
            Self::Choices => "choices",
            Self::Contexts => "contexts",
            Self::Label => "label",
            Self::Pairs => "pairs",
            Self::Answers => "answers",
        }
    }

    /// How it is written where a column of the data holds what it is to hold.
    pub fn example(self) -> String {
        let value = match self {
            Self::Prompt | Self::Pair | Self::Completion | Self::Label => "{{ COLUMN }}",
            Self::References => "{{ [COLUMN]|tojson }}",
            Self::Choices | Self::Contexts => "{{ COLUMN|tojson }}",
            Self::Pairs => "{{ [[COLUMN, COLUMN]]|tojson }}",
            Self::Answers => "{{ [{'text': COLUMN, 'start': COLUMN}]|tojson }}",
        };
        format!("{{% block {} %}}{value}{{% endblock %}}", self.name())
    }
}

/// Blocks without which a stage is sure to fail: the template that rendered its rows must define one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedBlock {
    /// The input that has the rows.
    pub role: &'static str,
    /// Any of these will do.
    pub any_of: &'static [Block],
    /// Where the setting stands that needs it.
    pub path: String,
    /// What needs it, in words: "the metric `exact_match`".
    pub by: String,
    /// What else would do, in words.
    pub instead: Option<&'static str>,
}

impl WantedBlock {
    /// A block that the setting at a path needs of the rows of an input.
    pub fn new(role: &'static str, block: &'static [Block], path: impl Into<String>, by: impl Into<String>) -> Self {
        Self { role, any_of: block, path: path.into(), by: by.into(), instead: None }
    }

    /// The same, with another way out.
    pub fn or_else(self, instead: &'static str) -> Self {
        Self { instead: Some(instead), ..self }
    }
}

/// What an objective needs of the rows of `data`: what is learned of each.
pub(crate) fn of_objective(objective: &Objective) -> Vec<WantedBlock> {
    let wanted =
        |blocks| WantedBlock::new("data", blocks, "objective", format!("the objective `{}`", objective.name()));
    vec![match objective {
        Objective::LanguageModel(LanguageModel { loss_on: LossOn::All, .. }) => return Vec::new(),
        Objective::LanguageModel(_) => wanted(&[Block::Completion, Block::Pairs])
            .or_else("learn every token: `objective: {language_model: {loss_on: all}}`"),
        Objective::Seq2Seq(_) => wanted(&[Block::Completion]),
        Objective::Classify(_) | Objective::Regress(_) => wanted(&[Block::Label]),
        Objective::Span(_) => wanted(&[Block::Answers]),
    }]
}

/// What a question to a model needs of the rows of `data`; `below` is where `protocol` and `metrics` stand.
pub(crate) fn of_protocol(below: &str, protocol: &Protocol, metrics: &[Metric]) -> Vec<WantedBlock> {
    let by = || format!("the protocol `{}`", protocol.name());
    let asked = |block| WantedBlock::new("data", block, format!("{below}protocol"), by());
    // Whatever the metric, answers are compared with something.
    let compared = || match metrics.first() {
        Some(metric) => {
            let by = format!("the metric `{}`", metric.name());
            WantedBlock::new("data", &[Block::References], format!("{below}metrics.0"), by)
        }
        None => asked(&[Block::References]),
    };
    match protocol {
        Protocol::Generate(_) => vec![compared()],
        Protocol::Span(_) => vec![asked(&[Block::Pair]), compared()],
        Protocol::Choices(_) => vec![asked(&[Block::Choices]), asked(&[Block::Label])],
        Protocol::Classify(_) | Protocol::Regress(_) => vec![asked(&[Block::Label])],
        Protocol::Perplexity(settings) => match settings.loss_on {
            LossOn::All => Vec::new(),
            LossOn::Completion => {
                let written: &[Block] = &[Block::Completion, Block::Pairs];
                vec![asked(written).or_else("count every token: `protocol: {perplexity: {loss_on: all}}`")]
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(protocol: &str) -> Vec<(&'static str, String)> {
        let protocol: Protocol = serde_yaml::from_str(protocol).unwrap();
        let metrics: Vec<Metric> = serde_yaml::from_str("[exact_match]").unwrap();
        let all = of_protocol("validate.", &protocol, &metrics);
        all.iter().map(|wanted| (wanted.any_of[0].name(), wanted.path.clone())).collect()
    }

    #[test]
    fn each_protocol_wants_what_it_compares_with() {
        let at = |block, path: &str| (block, format!("validate.{path}"));
        assert_eq!(wanted("{generate: {max_new_tokens: 8}}"), [at("references", "metrics.0")]);
        assert_eq!(wanted("span"), [at("pair", "protocol"), at("references", "metrics.0")]);
        assert_eq!(wanted("choices"), [at("choices", "protocol"), at("label", "protocol")]);
        assert_eq!(wanted("classify"), [at("label", "protocol")]);
        assert_eq!(wanted("regress"), [at("label", "protocol")]);
        assert_eq!(wanted("perplexity"), [at("completion", "protocol")]);
        assert_eq!(wanted("{perplexity: {loss_on: all}}"), []);
    }
}
