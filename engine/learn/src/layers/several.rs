//! Several linear maps of the same input: maps of their own, or one whose outputs are theirs one behind the other, as
//! some families have their queries, keys and values. Knows no method.

use std::rc::Rc;

use tch::Tensor;

use super::{LinearMap, Mode, Rows};
use crate::error::{Error, Result};

/// `N` linear maps of the same input.
#[derive(Debug)]
pub enum Several<const N: usize> {
    /// Maps of their own.
    Apart([Rc<dyn LinearMap>; N]),
    /// One map, and how many outputs each of them has of it.
    Fused(Rc<dyn LinearMap>, [i64; N]),
}

impl<const N: usize> Several<N> {
    /// These maps, of which there must be `N`.
    pub fn apart(maps: Vec<Rc<dyn LinearMap>>) -> Result<Self> {
        exactly(maps).map(Self::Apart)
    }

    /// Maps `[…, inputs]` to `[…, outputs]` of each.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<[Tensor; N]> {
        let made = match self {
            Self::Apart(maps) => maps.iter().map(|map| map.forward(x, mode)).collect::<Result<Vec<_>>>()?,
            Self::Fused(map, outputs) => map.forward(x, mode)?.f_split_with_sizes(outputs.as_slice(), -1)?,
        };
        exactly(made)
    }

    /// The same of `[1, length, inputs]`, where of the first of the maps the outputs at the places `at` (`[some]`) alone are
    /// wanted: `[1, some, outputs]`.
    pub fn forward_first_at(&self, x: &Tensor, at: &Tensor, mode: Mode) -> Result<[Tensor; N]> {
        let of_map = |(number, map): (usize, &Rc<dyn LinearMap>)| match number {
            0 => map.forward(&x.f_index_select(1, at)?, mode),
            _ => map.forward(x, mode),
        };
        match self {
            Self::Apart(maps) => exactly(maps.iter().enumerate().map(of_map).collect::<Result<Vec<_>>>()?),
            Self::Fused(..) => {
                let mut made = self.forward(x, mode)?;
                if let Some(first) = made.first_mut() {
                    *first = first.f_index_select(1, at)?;
                }
                Ok(made)
            }
        }
    }
}

fn exactly<T, const N: usize>(list: Vec<T>) -> Result<[T; N]> {
    let count = list.len();
    list.try_into().map_err(|_| {
        let problem = format!("it has {count} maps of one input where {N} are asked for");
        Error::setting("model", problem, "report this model's family")
    })
}

/// Maps of the same input that are rows of one weight, as one map: how a weight is merged whose slices are adapted.
#[derive(Debug)]
pub struct Stacked {
    /// The maps, with the rows that each of them is.
    pub maps: Vec<(Rows, Rc<dyn LinearMap>)>,
    /// The bias of all.
    pub bias: Option<Tensor>,
}

impl LinearMap for Stacked {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let made = self.maps.iter().map(|(_, map)| map.forward(x, mode)).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::f_cat(&made, -1)?)
    }

    fn merged(&self) -> Result<Tensor> {
        let weights = self.maps.iter().map(|(_, map)| map.merged()).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::f_cat(&weights, 0)?)
    }

    fn merged_bias(&self) -> Result<Option<Tensor>> {
        let Some(whole) = &self.bias else { return Ok(None) };
        let of = |(rows, map): &(Rows, Rc<dyn LinearMap>)| match map.merged_bias()? {
            Some(bias) => Ok(bias),
            None => Ok(rows.of(whole)?.f_detach()?),
        };
        let biases = self.maps.iter().map(of).collect::<Result<Vec<_>>>()?;
        Ok(Some(Tensor::f_cat(&biases, 0)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Linear;
    use tch::{Device, Kind};

    fn bits(tensors: &[Tensor]) -> Vec<f32> {
        Vec::try_from(Tensor::cat(tensors, -1).reshape(-1)).unwrap()
    }

    #[test]
    fn maps_of_their_own_and_rows_of_one_compute_the_same() {
        let float = (Kind::Float, Device::Cpu);
        let (weight, bias) = (Tensor::arange(18, float).view([6, 3]), Tensor::arange(6, float));
        let x = Tensor::arange(12, float).view([2, 2, 3]);
        let sizes = [3, 1, 2];
        let mut first = 0;
        let maps = sizes.map(|count| {
            let rows = Rows { first, count };
            first += count;
            let (weight, bias) = (rows.of(&weight).unwrap(), rows.of(&bias).unwrap());
            (rows, Rc::new(Linear { weight, bias: Some(bias) }) as Rc<dyn LinearMap>)
        });
        let whole = Rc::new(Linear { weight: weight.copy(), bias: Some(bias.copy()) });
        let fused = Several::Fused(whole.clone(), sizes).forward(&x, Mode::Eval).unwrap();
        let apart = Several::Apart(maps.clone().map(|(_, map)| map)).forward(&x, Mode::Eval).unwrap();
        assert_eq!(fused.each_ref().map(Tensor::size), [vec![2, 2, 3], vec![2, 2, 1], vec![2, 2, 2]]);
        assert_eq!(bits(&fused), bits(&apart));
        let (row, at) = (x.view([1, 4, 3]), Tensor::from_slice(&[3i64, 1]));
        for several in [Several::Fused(whole.clone(), sizes), Several::Apart(maps.clone().map(|(_, map)| map))] {
            let all = several.forward(&row, Mode::Eval).unwrap();
            let [first, second, third] = several.forward_first_at(&row, &at, Mode::Eval).unwrap();
            assert!(first.equal(&all[0].index_select(1, &at)));
            assert!(second.equal(&all[1]) && third.equal(&all[2]));
        }
        let stacked = Stacked { maps: maps.into(), bias: Some(bias.copy()) };
        assert!(stacked.merged().unwrap().equal(&weight) && stacked.merged_bias().unwrap().unwrap().equal(&bias));
        assert!(stacked.forward(&x, Mode::Eval).unwrap().equal(&whole.forward(&x, Mode::Eval).unwrap()));
    }

    #[test]
    fn rows_share_memory_and_are_checked() {
        let whole = Tensor::zeros([4, 2], (Kind::Float, Device::Cpu));
        let rows = Rows { first: 1, count: 2 };
        rows.put(&Tensor::ones([2, 2], (Kind::Float, Device::Cpu)), &whole).unwrap();
        assert_eq!(Vec::<f32>::try_from(whole.sum_dim_intlist(1, false, Kind::Float)).unwrap(), [0.0, 2.0, 2.0, 0.0]);
        assert!(rows.within(3) && !rows.within(2));
        assert!(![(-1, 2), (0, 0), (i64::MAX, 1)].iter().any(|&(first, count)| Rows { first, count }.within(4)));
    }
}
