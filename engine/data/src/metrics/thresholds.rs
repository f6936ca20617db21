//! What becomes of questions where answers are withheld above a probability of no answer, as the official SQuAD 2.0 script
//! counts it: the score, the best threshold, the area under precision and recall. Knows no text.

/// A scored question of a system that also says how likely it is that there is no answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Question {
    /// The probability that there is no answer.
    pub no_answer: f64,
    /// Exact match or F1 of the predicted text, from 0 to 1.
    pub score: f64,
    /// Whether the question has an answer.
    pub has_answer: bool,
    /// Whether the predicted text is empty.
    pub is_empty: bool,
}

/// The score of a question when the answer is withheld above a probability of no answer.
pub fn at_threshold(question: &Question, threshold: f64) -> f64 {
    match question.no_answer > threshold {
        true if question.has_answer => 0.0,
        true => 1.0,
        false => question.score,
    }
}

/// The best score in percent that withholding answers can reach, and the probability of no answer above which they
/// are withheld. Of questions that are equally probable, the first come first; there is no score of no question.
pub fn best_threshold(questions: &[Question]) -> Option<(f64, f64)> {
    if questions.is_empty() {
        return None;
    }
    let mut score = questions.iter().filter(|question| !question.has_answer).count() as f64;
    let (mut best, mut threshold) = (score, 0.0);
    for question in by_probability(questions) {
        score += match (question.has_answer, question.is_empty) {
            (true, _) => question.score,
            (false, true) => 0.0,
            (false, false) => -1.0,
        };
        if score > best {
            (best, threshold) = (score, question.no_answer);
        }
    }
    Some((100.0 * best / questions.len() as f64, threshold))
}

/// The average precision in percent, the answerable questions being what is to be found: with the questions' scores, and
/// with a score of one for each answerable question, which judges the probabilities alone. Nothing where none is answerable.
pub fn average_precisions(questions: &[Question]) -> Option<(f64, f64)> {
    let of = |score: fn(&Question) -> f64| {
        let wanted = questions.iter().filter(|question| question.has_answer).count() as f64;
        let order = by_probability(questions);
        let (mut found, mut recall, mut area) = (0.0, 0.0, 0.0);
        for (index, question) in order.iter().enumerate() {
            if question.has_answer {
                found += score(question);
            }
            // Only between questions of different probability can a threshold stand.
            if order.get(index + 1).is_none_or(|next| next.no_answer != question.no_answer) {
                area += found / (index + 1) as f64 * (found / wanted - recall);
                recall = found / wanted;
            }
        }
        100.0 * area
    };
    questions.iter().any(|question| question.has_answer).then(|| (of(|question| question.score), of(|_| 1.0)))
}

fn by_probability(questions: &[Question]) -> Vec<&Question> {
    let mut order: Vec<&Question> = questions.iter().collect();
    order.sort_by(|a, b| a.no_answer.total_cmp(&b.no_answer));
    order
}
