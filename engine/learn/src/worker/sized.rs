//! Sizes of methods that are to be as large as another method: the size is chosen with which the numbers that train are
//! nearest in count. Knows the words of pipeline files and how many numbers a method has in a model without memory; not what
//! they are.

use serde_json::Value;
use spec::adapter::{Adapter, AdapterSource, ChosenSize};

use super::method::method;
use crate::error::{Error, Result};
use crate::forecast::Outline;
use crate::models::Task;
use crate::numerics::Numerics;

/// The same adapters with sizes that are numbers, and the one that was chosen, if one was, in the model of `config`.
pub fn in_numbers(
    source: &AdapterSource,
    task: Task,
    numerics: Numerics,
    config: impl FnOnce() -> Result<Value>,
) -> Result<(AdapterSource, Option<ChosenSize>)> {
    let Some(adapter) = source.sized_by_count() else { return Ok((source.clone(), None)) };
    let config = config()?;
    let (sized, chosen) = choose(adapter, &|adapter| {
        // Which tokens a prompt begins with changes no count.
        let method = method(adapter, &|_| Ok(vec![0]))?;
        Ok(Outline::new(task, &config, None, method.as_ref(), numerics)?.beside_heads)
    })?;
    Ok((AdapterSource::New(vec![sized]), chosen))
}

/// The adapter with a number for its size: of the two sizes whose counts are around that of the other method the nearer
/// one, the smaller where both are as near. A count grows by the same number for each unit of a size.
fn choose(adapter: &Adapter, count: &dyn Fn(&Adapter) -> Result<u64>) -> Result<(Adapter, Option<ChosenSize>)> {
    let Some((setting, like)) = adapter.like() else { return Ok((adapter.clone(), None)) };
    let at = |size: u64| count(&adapter.clone().with_size(size));
    let wanted = count(&like.method()).map_err(|error| match error {
        Error::Setting { setting: of, problem, hint } => {
            Error::Setting { setting: format!("{setting}.parameters_like.{}.{of}", like.name()), problem, hint }
        }
        other => other,
    })?;
    let one = at(1)?;
    let step = at(2)?.saturating_sub(one);
    if step == 0 {
        let problem = format!("changes nothing: `{}` trains {one} numbers with any", adapter.name());
        return Err(Error::setting(setting, problem, "its maps have sizes of their own; write a number"));
    }
    if 2 * one.saturating_sub(wanted) > step {
        let problem = format!(
            "cannot be like `{}`, which would train {wanted} numbers: with a size of 1 `{}` trains {one} already",
            like.name(),
            adapter.name()
        );
        return Err(Error::setting(setting, problem, "choose a larger one to compare with, or write a number"));
    }
    let beyond = wanted.saturating_sub(one);
    let size = 1 + beyond / step + u64::from(2 * (beyond % step) > step);
    let sized = adapter.clone().with_size(size);
    let parameters = count(&sized)?;
    let chosen = ChosenSize { setting, size, parameters, like: like.name().to_owned(), like_parameters: wanted };
    Ok((sized, Some(chosen)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(text: &str) -> Adapter {
        serde_json::from_value(serde_json::from_str(text).unwrap()).unwrap()
    }

    /// A model of one map of 10 inputs and 6 outputs, whose hidden states are 10 wide.
    fn count(adapter: &Adapter) -> Result<u64> {
        let settings = serde_json::to_value(adapter).unwrap();
        let number = |path: &str| settings.pointer(path).and_then(Value::as_u64);
        Ok(match adapter {
            Adapter::Lora(_) => 16 * number("/lora/rank").unwrap(),
            Adapter::Prompt(_) => 10 * number("/prompt/tokens").unwrap(),
            Adapter::Vera(_) => 6 + number("/vera/rank").unwrap(),
            Adapter::Bottleneck(_) => 10 + 21 * number("/bottleneck/pfeiffer/size/units").unwrap(),
            Adapter::BitFit(_) => 6,
            _ => 7,
        })
    }

    fn chosen(text: &str) -> ChosenSize {
        let (sized, chosen) = choose(&adapter(text), &count).unwrap();
        let chosen = chosen.unwrap();
        assert_eq!(count(&sized).unwrap(), chosen.parameters);
        assert!(sized.like().is_none());
        chosen
    }

    #[test]
    fn the_nearest_size_is_chosen() {
        let found = chosen(r#"{"prompt": {"tokens": {"parameters_like": {"lora": {"rank": 3}}}}}"#);
        let expected = ("prompt.tokens", 5, 50, "lora", 48);
        let ChosenSize { setting, size, parameters, like, like_parameters } = &found;
        assert_eq!((setting.as_str(), *size, *parameters, like.as_str(), *like_parameters), expected);
        assert_eq!(found.to_string(), "`prompt.tokens` is 5: it trains 50 numbers, `lora` would train 48");
        // The last one is half-way between two sizes.
        for (text, size) in [
            (r#"{"bottleneck": {"pfeiffer": {"size": {"parameters_like": {"lora": {"rank": 2}}}}}}"#, 1),
            (r#"{"bottleneck": {"pfeiffer": {"size": {"parameters_like": {"lora": {"rank": 9}}}}}}"#, 6),
            (r#"{"vera": {"targets": "all-linear", "rank": {"parameters_like": {"lora": {"rank": 1}}}}}"#, 10),
            (r#"{"prompt": {"tokens": {"parameters_like": {"bitfit": {}}}}}"#, 1),
            (
                r#"{"lora": {"targets": "all-linear", "alpha": 1, "rank": {"parameters_like": {"prompt": {"tokens": 4}}}}}"#,
                2,
            ),
        ] {
            assert_eq!(chosen(text).size, size, "{text}");
        }
    }

    #[test]
    fn what_no_size_comes_near_to_is_refused() {
        let refused = |text: &str| choose(&adapter(text), &count).unwrap_err().to_string();
        let text = r#"{"lora": {"targets": "all-linear", "alpha": 1, "rank": {"parameters_like": {"bitfit": {}}}}}"#;
        assert_eq!(
            refused(text),
            "lora.rank: cannot be like `bitfit`, which would train 6 numbers: with a size of 1 `lora` trains 16 already"
        );
        let text = r#"{"prefix": {"tokens": {"parameters_like": {"bitfit": {}}}}}"#;
        assert!(refused(text).contains("prefix.tokens: changes nothing"), "{}", refused(text));
    }
}
