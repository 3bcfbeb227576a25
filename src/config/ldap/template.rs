//! Filters and names with places for what is only known at a login.

/// A text with `$user` and `$dn` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    User,
    Dn,
}

impl Template {
    /// # Errors
    /// A `$` with anything else behind it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const UNKNOWN: &str = "a $ must begin $user or $dn; write \\24 for the character itself";
        let mut parts = Vec::new();
        let mut pieces = text.split('$');
        parts.extend(pieces.next().map(|text| Part::Text(text.to_owned())));
        for piece in pieces {
            let (part, rest) = match (piece.strip_prefix("user"), piece.strip_prefix("dn")) {
                (Some(rest), _) => (Part::User, rest),
                (None, Some(rest)) => (Part::Dn, rest),
                (None, None) => return Err(UNKNOWN),
            };
            if rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_') {
                return Err(UNKNOWN);
            }
            parts.push(part);
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The text with these in their places. They are put in as they are, once: escaping is for the caller.
    pub fn fill(&self, user: &str, dn: &str) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::User => user.to_owned(),
            Part::Dn => dn.to_owned(),
        };
        self.0.iter().map(text).collect()
    }

    pub fn has_user(&self) -> bool {
        self.0.contains(&Part::User)
    }

    pub fn has_dn(&self) -> bool {
        self.0.contains(&Part::Dn)
    }

    /// True where every place is within a value: behind an `=` that none of the delimiters follows.
    pub(super) fn fills_values_only(&self, delimiters: &[char]) -> bool {
        let mut within = false;
        self.0.iter().all(|part| match part {
            Part::Text(text) => {
                let last = text.rfind(|letter| letter == '=' || delimiters.contains(&letter));
                if let Some(at) = last {
                    within = text.get(at..).is_some_and(|rest| rest.starts_with('='));
                }
                true
            }
            Part::User | Part::Dn => within,
        })
    }

    /// The attribute that the first `$user` is compared with.
    pub(super) fn attribute_of_user(&self) -> Option<&str> {
        let at = self.0.iter().position(|part| *part == Part::User)?;
        let Part::Text(before) = self.0.get(at.checked_sub(1)?)? else { return None };
        let attribute = before.strip_suffix('=')?.rsplit(['(', ',', '+']).next()?.trim();
        super::dn::is_attribute(attribute).then_some(attribute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_once() {
        let template = Template::parse("(|(member=$dn)(memberUid=$user))").unwrap();
        assert_eq!(template.fill("$dn", "$user"), "(|(member=$user)(memberUid=$dn))");
        assert!(template.has_user() && template.has_dn());
        assert_eq!(template.attribute_of_user(), Some("memberUid"));
        for text in ["$", "(uid=$name)", "(uid=$username)", "(uid=$$user)", "(uid=$ user)"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn places_are_within_values() {
        let within = |text, delimiters: &[char]| Template::parse(text).unwrap().fills_values_only(delimiters);
        for text in ["(uid=$user)", "(mail=$user@example.com)", "(&(a=b)(uid=x-$user))", "(m:1.2.3:=$dn)"] {
            assert!(within(text, &['(', ')']), "{text}");
        }
        for text in ["($user=a)", "(&(uid=a)$user)", "$user", "(uid=a)($user=b)"] {
            assert!(!within(text, &['(', ')']), "{text}");
        }
        assert!(within("uid=$user,ou=people", &[',', '+']));
        assert!(!within("uid=a,$user=b", &[',', '+']));
    }
}
