//! Money: a whole number of a currency's smallest unit, never a fraction.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An amount in one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// In minor units: 4200 for USD 42.00, 4200 for JPY 4200.
    pub value: i64,
    /// Of which currency.
    pub currency: Currency,
}

/// The currencies this shop sells in, by their ISO 4217 codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Currency {
    /// United States dollar.
    Usd,
    /// Euro.
    Eur,
    /// Pound sterling.
    Gbp,
    /// Swiss franc.
    Chf,
    /// Japanese yen, which has no minor unit.
    Jpy,
}

/// Why amounts could not be put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Two currencies in one sum.
    #[error("{0} and {1} can not be added")]
    Mixed(Currency, Currency),
    /// More than fits 64 bits.
    #[error("the amount is too large")]
    TooLarge,
}

/// A code that is not one of [`Currency::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the currency {0:?} is not supported")]
pub struct UnsupportedCurrency(pub String);

impl Money {
    /// `value` minor units of `currency`.
    pub const fn new(value: i64, currency: Currency) -> Self {
        Self { value, currency }
    }

    /// Nothing, in `currency`.
    pub const fn zero(currency: Currency) -> Self {
        Self::new(0, currency)
    }

    /// The sum of both.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        self.combine(other, i64::checked_add)
    }

    /// What is left of `self` without `other`; below zero when `other` is more.
    pub fn minus(self, other: Self) -> Result<Self, MoneyError> {
        self.combine(other, i64::checked_sub)
    }

    /// So many times the amount.
    pub fn times(self, quantity: u32) -> Result<Self, MoneyError> {
        let value = self.value.checked_mul(quantity.into()).ok_or(MoneyError::TooLarge)?;
        Ok(Self { value, ..self })
    }

    fn combine(self, other: Self, by: fn(i64, i64) -> Option<i64>) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Mixed(self.currency, other.currency));
        }
        let value = by(self.value, other.value).ok_or(MoneyError::TooLarge)?;
        Ok(Self { value, ..self })
    }
}

/// `USD 42.00`, `JPY 4200`, `EUR -0.05`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.currency.exponent() as usize;
        let unit = 10_u64.pow(self.currency.exponent());
        let sign = if self.value < 0 { "-" } else { "" };
        let value = self.value.unsigned_abs();
        write!(f, "{} {sign}{}", self.currency, value / unit)?;
        match digits {
            0 => Ok(()),
            _ => write!(f, ".{:0digits$}", value % unit),
        }
    }
}

impl Currency {
    /// All that are supported.
    pub const ALL: [Self; 5] = [Self::Usd, Self::Eur, Self::Gbp, Self::Chf, Self::Jpy];

    /// The ISO 4217 code: three upper-case letters.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Usd => "USD",
            Self::Eur => "EUR",
            Self::Gbp => "GBP",
            Self::Chf => "CHF",
            Self::Jpy => "JPY",
        }
    }

    /// How many decimal digits the minor unit is away from the major one (ISO 4217).
    pub const fn exponent(self) -> u32 {
        match self {
            Self::Jpy => 0,
            Self::Usd | Self::Eur | Self::Gbp | Self::Chf => 2,
        }
    }
}

impl FromStr for Currency {
    type Err = UnsupportedCurrency;

    fn from_str(code: &str) -> Result<Self, UnsupportedCurrency> {
        let known = Self::ALL.into_iter().find(|currency| currency.code() == code);
        known.ok_or_else(|| UnsupportedCurrency(code.to_owned()))
    }
}

impl TryFrom<String> for Currency {
    type Error = UnsupportedCurrency;

    fn try_from(code: String) -> Result<Self, UnsupportedCurrency> {
        code.parse()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_reads_as_people_write_it() {
        let text = |value, currency| Money::new(value, currency).to_string();
        assert_eq!(text(4200, Currency::Usd), "USD 42.00");
        assert_eq!(text(5, Currency::Eur), "EUR 0.05");
        assert_eq!(text(-5, Currency::Eur), "EUR -0.05");
        assert_eq!(text(4200, Currency::Jpy), "JPY 4200");
        assert_eq!(text(i64::MIN, Currency::Chf), "CHF -92233720368547758.08");
    }

    #[test]
    fn amounts_never_wrap_and_never_mix() {
        let most = Money::new(i64::MAX, Currency::Usd);
        assert_eq!(most.plus(Money::new(1, Currency::Usd)), Err(MoneyError::TooLarge));
        assert_eq!(most.times(2), Err(MoneyError::TooLarge));
        assert_eq!(
            most.minus(Money::zero(Currency::Gbp)),
            Err(MoneyError::Mixed(Currency::Usd, Currency::Gbp))
        );
    }

    #[test]
    fn only_known_codes_are_currencies() {
        for currency in Currency::ALL {
            assert_eq!(currency.code().parse(), Ok(currency));
            let json = serde_json::to_string(&currency).unwrap();
            assert_eq!(json, format!("{:?}", currency.code()));
        }
        for code in ["usd", "XXX", "", "US", "USDD"] {
            assert!(code.parse::<Currency>().is_err(), "{code}");
        }
    }
}
