//! Where the payment gateway is, with which key, and how fast it may be asked.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;

/// Stripe itself.
pub const STRIPE_URL: &str = "https://api.stripe.com";

/// What it takes to speak to the payment gateway: Stripe, or the simulator. The same settings and
/// the same code serve both.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `PAYMENT_GATEWAY_URL`: scheme, host and port.
    pub url: Url,
    /// `PAYMENT_GATEWAY_KEY`.
    pub key: SecretString,
    /// `PAYMENT_WEBHOOK_SECRET`.
    pub webhook_secret: SecretString,
    /// `PAYMENT_RETURN_URL`: the page to which a customer comes back from their bank. `None`: the
    /// gateway does not say where to send them.
    pub return_url: Option<Url>,
    /// `PAYMENT_GATEWAY_RATE`. `None`: no limit.
    pub rate: Option<Rate>,
    /// The most calls in flight at once.
    pub concurrency_max: usize,
    /// How long a connection may take to open. A call that ends here was not sent.
    pub connect_timeout: Duration,
    /// How long one call may take in all; longer than `connect_timeout`. A call that ends here may
    /// have happened.
    pub timeout: Duration,
}

/// Requests per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// To one endpoint (create, confirm, ..).
    pub endpoint: NonZeroU32,
    /// In all.
    pub total: NonZeroU32,
}

impl Rate {
    /// A Stripe account's default limits (docs.stripe.com/rate-limits).
    pub const STRIPE: Self = Self {
        endpoint: NonZeroU32::new(25).expect("not zero"),
        total: NonZeroU32::new(100).expect("not zero"),
    };
}

/// Why the payment gateway can not be set up: names the variable and what it should be.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A variable that is needed is not set.
    #[error("{variable} is not set: it should be {expected}")]
    Missing {
        /// The variable.
        variable: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A variable can not be understood. Secrets are not shown.
    #[error("{variable}{given}: {problem}; it should be {expected}")]
    Invalid {
        /// The variable.
        variable: &'static str,
        /// ` is <value>`, or nothing for a secret.
        given: String,
        /// What is wrong with it.
        problem: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// The HTTP client can not be built (no certificate store, say).
    #[error("the payment gateway's HTTP client can not be built")]
    Client(#[source] reqwest::Error),
}

/// All that is wrong with the variables.
#[derive(Debug)]
pub struct SettingsErrors(pub Vec<SettingsError>);

impl std::error::Error for SettingsErrors {}

impl fmt::Display for SettingsErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join("\n"))
    }
}

const URL: &str = "PAYMENT_GATEWAY_URL";
const URL_EXPECTED: &str =
    "https://api.stripe.com, or a simulator on this machine such as http://127.0.0.1:8420";
const KEY: &str = "PAYMENT_GATEWAY_KEY";
const KEY_EXPECTED: &str = "the gateway's secret key, such as sk_test_...";
const SECRET: &str = "PAYMENT_WEBHOOK_SECRET";
const SECRET_EXPECTED: &str = "the signing secret of the webhook endpoint, such as whsec_...";
const RETURN_URL: &str = "PAYMENT_RETURN_URL";
const RETURN_URL_EXPECTED: &str = "the shop's page to which a customer comes back from their bank, such as https://shop.example/paid";
const RATE: &str = "PAYMENT_GATEWAY_RATE";
const RATE_EXPECTED: &str =
    "requests per second to one endpoint, or that and the total: 25 or 25,100";

impl Settings {
    /// From the values of the variables `PAYMENT_GATEWAY_URL` (Stripe when not set),
    /// `PAYMENT_GATEWAY_KEY`, `PAYMENT_WEBHOOK_SECRET`, `PAYMENT_GATEWAY_RATE` (when not set:
    /// Stripe's default limits, or none on loopback) and `PAYMENT_RETURN_URL`. An empty value counts
    /// as not set. Else all that is wrong with them.
    pub fn from_values(
        url: Option<&str>,
        key: Option<&str>,
        webhook_secret: Option<&str>,
        rate: Option<&str>,
        return_url: Option<&str>,
    ) -> Result<Self, SettingsErrors> {
        let url = parse_gateway_url(given(url).unwrap_or(STRIPE_URL));
        let return_url = given(return_url);
        let return_url =
            return_url.map(|url| parse_url(RETURN_URL, RETURN_URL_EXPECTED, url)).transpose();
        let rate = given(rate).map(parse_rate).transpose();
        let key = parse_key(given(key));
        let webhook_secret = parse_secret(SECRET, SECRET_EXPECTED, given(webhook_secret));
        match (url, key, webhook_secret, rate, return_url) {
            (Ok(url), Ok(key), Ok(webhook_secret), Ok(rate), Ok(return_url)) => Ok(Self {
                rate: rate.or_else(|| (!is_loopback(&url)).then_some(Rate::STRIPE)),
                url,
                key,
                webhook_secret,
                return_url,
                concurrency_max: 64,
                connect_timeout: Duration::from_secs(5),
                timeout: Duration::from_secs(20),
            }),
            (url, key, secret, rate, return_url) => {
                let wrong = [url.err(), rate.err(), key.err(), secret.err(), return_url.err()];
                Err(SettingsErrors(wrong.into_iter().flatten().collect()))
            }
        }
    }
}

fn given(value: Option<&str>) -> Option<&str> {
    value.map(str::trim).filter(|value| !value.is_empty())
}

fn parse_gateway_url(text: &str) -> Result<Url, SettingsError> {
    let url = parse_url(URL, URL_EXPECTED, text)?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(SettingsError::Invalid {
            variable: URL,
            given: format!(" is {text}"),
            problem: "it goes on after the host",
            expected: URL_EXPECTED,
        });
    }
    Ok(url)
}

fn parse_url(
    variable: &'static str,
    expected: &'static str,
    text: &str,
) -> Result<Url, SettingsError> {
    let given = format!(" is {text}");
    let invalid = |problem| SettingsError::Invalid { variable, given, problem, expected };
    // Not repeated in the message: it may hold a password.
    let with_credentials = SettingsError::Invalid {
        variable,
        given: String::new(),
        problem: "it holds credentials",
        expected,
    };
    let Ok(url) = Url::parse(text) else { return Err(invalid("not a URL")) };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(with_credentials);
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(invalid("without TLS it must be on this machine")),
        _ => Err(invalid("neither https nor http")),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn parse_key(text: Option<&str>) -> Result<SecretString, SettingsError> {
    if text.is_some_and(|text| text.starts_with("pk_")) {
        return Err(SettingsError::Invalid {
            variable: KEY,
            given: String::new(),
            problem: "a publishable key (pk_) can not charge",
            expected: KEY_EXPECTED,
        });
    }
    parse_secret(KEY, KEY_EXPECTED, text)
}

fn parse_secret(
    variable: &'static str,
    expected: &'static str,
    text: Option<&str>,
) -> Result<SecretString, SettingsError> {
    let text = text.ok_or(SettingsError::Missing { variable, expected })?;
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(SettingsError::Invalid {
            variable,
            given: String::new(),
            problem: "spaces or other characters that no key has",
            expected,
        });
    }
    Ok(SecretString::from(text))
}

fn parse_rate(text: &str) -> Result<Rate, SettingsError> {
    let invalid = || SettingsError::Invalid {
        variable: RATE,
        given: format!(" is {text}"),
        problem: "not one or two positive whole numbers",
        expected: RATE_EXPECTED,
    };
    let number = |text: &str| text.trim().parse::<NonZeroU32>().map_err(|_| invalid());
    let (endpoint, total) = match text.split_once(',') {
        Some((endpoint, total)) => (number(endpoint)?, number(total)?),
        None => {
            let endpoint = number(text)?;
            (endpoint, endpoint.saturating_mul(NonZeroU32::new(4).unwrap_or(endpoint)))
        }
    };
    Ok(Rate { endpoint, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(
        url: &str,
        key: &str,
        secret: &str,
        rate: &str,
    ) -> Result<Settings, SettingsErrors> {
        Settings::from_values(Some(url), Some(key), Some(secret), Some(rate), None)
    }

    #[test]
    fn two_variables_are_enough_for_stripe() {
        let settings = settings("", "sk_test_1", "whsec_1", "").unwrap();
        assert_eq!(settings.url.as_str(), "https://api.stripe.com/");
        assert_eq!(settings.rate, Some(Rate::STRIPE));
        assert!(!format!("{settings:?}").contains("sk_test_1"));
    }

    #[test]
    fn the_simulator_has_no_limit_unless_told() {
        for url in ["http://127.0.0.1:8420", "http://localhost:1", "http://[::1]:1"] {
            assert_eq!(settings(url, "sk_test_1", "whsec_1", "").unwrap().rate, None, "{url}");
        }
        let rate = settings("http://127.0.0.1:8420", "sk_test_1", "whsec_1", "10").unwrap().rate;
        assert_eq!(rate.map(|rate| (rate.endpoint.get(), rate.total.get())), Some((10, 40)));
    }

    #[test]
    fn a_customer_comes_back_to_any_page_over_tls() {
        let settings =
            |url| Settings::from_values(None, Some("sk_test_1"), Some("whsec_1"), None, Some(url));
        assert_eq!(settings("").unwrap().return_url, None);
        for page in ["https://shop.example/paid?x=1#y", "http://127.0.0.1:3000/paid"] {
            assert_eq!(settings(page).unwrap().return_url.unwrap().as_str(), page);
        }
        for wrong in ["nonsense", "http://shop.example/", "https://a:hunter2@shop.example/"] {
            let message = settings(wrong).unwrap_err().to_string();
            assert!(message.starts_with("PAYMENT_RETURN_URL"), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let wrong = Settings::from_values(Some("nonsense"), None, None, Some("fast"), Some("x"));
        let wrong = wrong.unwrap_err();
        assert_eq!(wrong.0.len(), 5, "{wrong}");
    }

    #[test]
    fn a_wrong_value_is_named_with_what_it_should_be() {
        let wrong = [
            (("", "", "whsec_1", ""), "PAYMENT_GATEWAY_KEY is not set"),
            (("", "pk_test_1", "whsec_1", ""), "publishable key"),
            (("", "sk 1", "whsec_1", ""), "PAYMENT_GATEWAY_KEY: spaces"),
            (("", "sk_test_1", "", ""), "PAYMENT_WEBHOOK_SECRET is not set"),
            (("ftp://127.0.0.1", "sk_test_1", "whsec_1", ""), "neither https nor http"),
            (("http://example.com", "sk_test_1", "whsec_1", ""), "must be on this machine"),
            (("https://example.com/v1", "sk_test_1", "whsec_1", ""), "goes on after the host"),
            (("nonsense", "sk_test_1", "whsec_1", ""), "not a URL"),
            (("https://a:hunter2@example.com", "sk_test_1", "whsec_1", ""), "credentials"),
            (("", "sk_test_1", "whsec_1", "0"), "PAYMENT_GATEWAY_RATE is 0"),
            (("", "sk_test_1", "whsec_1", "25,x"), "25 or 25,100"),
        ];
        for ((url, key, secret, rate), expected) in wrong {
            let message = settings(url, key, secret, rate).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains("hunter2") && !message.contains("sk 1"), "{message}");
        }
    }
}
