//! Repository patterns of grants: whole segments, `*`, `**`, `$user`; no regular expressions.

use super::{RepositoryName, Span, name::is_component};

/// A pattern over the segments of a repository name. `*` is one segment, `**` any number or none, `$user` the caller's
/// name as one segment; everything else is literal. So `a/**` matches `a`, `a/b` and `a/b/c`, never `ab`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
}

/// Why a string is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("a pattern must not be empty")]
    Empty,
    /// Also a literal that no repository name can hold: it would silently match nothing.
    #[error("{0:?} is not a pattern segment: use a literal, *, ** or $user")]
    Segment(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// `*`
    One,
    /// `**`
    Any,
    /// `$user`
    User,
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let segments = text.split('/').map(Segment::parse).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), segments })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True where the whole name matches; `$user` matches `user` as one segment, and nothing where there is no user.
    pub fn matches(&self, name: &RepositoryName, user: Option<&str>) -> bool {
        matches_all(&self.segments, name.segments(), |segment, name| match segment {
            Segment::Literal(literal) => literal == name,
            Segment::One => true,
            Segment::User => user == Some(*name),
            Segment::Any => false,
        })
    }

    /// Spans that hold every name the pattern can match for this user; none where it can match nothing. They follow the
    /// literal segments that it begins with, `$user` filled in.
    pub fn spans(&self, user: Option<&str>) -> Vec<Span> {
        let user = user.filter(|user| is_component(user));
        if user.is_none() && self.segments.contains(&Segment::User) {
            return Vec::new();
        }
        let literals: Vec<&str> = self.segments.iter().map_while(|segment| segment.literal(user)).collect();
        let wild = self.segments.get(literals.len()..).unwrap_or_default();
        let name = literals.join("/");
        let under = Span::Under(format!("{name}/").into());
        match (literals.is_empty(), wild.is_empty()) {
            (true, _) => vec![Span::All],
            (false, true) => vec![Span::Name(name.into())],
            (false, false) if wild.iter().all(|segment| *segment == Segment::Any) => {
                vec![Span::Name(name.into()), under]
            }
            (false, false) => vec![under],
        }
    }

    /// True where it holds `$user`.
    pub fn is_personal(&self) -> bool {
        self.segments.contains(&Segment::User)
    }

    /// The pattern as it is for one user, `$user` filled in; None where it can match nothing: there is no user, or the
    /// user's name cannot be a segment of a repository's.
    pub fn filled(&self, user: Option<&str>) -> Option<Self> {
        if !self.is_personal() {
            return Some(self.clone());
        }
        let user = user.filter(|user| is_component(user))?;
        let segments: Vec<&str> =
            self.text.split('/').map(|segment| if segment == "$user" { user } else { segment }).collect();
        Self::parse(&segments.join("/")).ok()
    }

    /// The fewest bytes of a name that it matches.
    pub fn shortest(&self) -> usize {
        let least = |segment: &Segment| match segment {
            Segment::Literal(literal) => Some(literal.len()),
            Segment::One | Segment::User => Some(1),
            Segment::Any => None,
        };
        let (segments, bytes) =
            self.segments.iter().filter_map(least).fold((0_usize, 0_usize), |(segments, bytes), least| {
                (segments.saturating_add(1), bytes.saturating_add(least))
            });
        bytes.saturating_add(segments.saturating_sub(1))
    }

    /// True only where no name is matched by both, for the same user. May say false when it cannot tell.
    pub fn is_apart(&self, other: &Self) -> bool {
        let fixed = |pattern: &Self| !pattern.segments.contains(&Segment::Any);
        let clash = |(one, other): (&Segment, &Segment)| matches!((one, other), (Segment::Literal(one), Segment::Literal(other)) if one != other);
        let known = |(one, other): &(&Segment, &Segment)| **one != Segment::Any && **other != Segment::Any;
        let (ours, theirs) = (&self.segments, &other.segments);
        (fixed(self) && fixed(other) && ours.len() != theirs.len())
            || ours.iter().zip(theirs).take_while(known).any(clash)
            || ours.iter().rev().zip(theirs.iter().rev()).take_while(known).any(clash)
    }

    /// True where every name that `other` matches is matched by `self` too, for the same user. May say false when it
    /// cannot tell (`**/*` and `**`).
    pub fn covers(&self, other: &Self) -> bool {
        matches_all(&self.segments, other.segments.iter(), |segment, other| match (segment, other) {
            (Segment::Any, _) | (_, Segment::Any) => false,
            (Segment::One, _) => true,
            (Segment::Literal(_) | Segment::User, other) => segment == *other,
        })
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, PatternError> {
        match text {
            "*" => Ok(Self::One),
            "**" => Ok(Self::Any),
            "$user" => Ok(Self::User),
            literal if is_component(literal) => Ok(Self::Literal(literal.to_owned())),
            _ => Err(PatternError::Segment(text.to_owned())),
        }
    }

    /// The one text that it takes from this user's point of view.
    fn literal<'a>(&'a self, user: Option<&'a str>) -> Option<&'a str> {
        match self {
            Self::Literal(literal) => Some(literal),
            Self::User => user,
            Self::One | Self::Any => None,
        }
    }
}

/// Matches a sequence as a whole: `Any` takes any number of items, every other segment takes the one for which `takes`
/// holds. At a mismatch only the latest `Any` has to take one more, so the cost is at most the product of the lengths.
fn matches_all<I: Iterator + Clone>(pattern: &[Segment], items: I, takes: impl Fn(&Segment, &I::Item) -> bool) -> bool {
    let (mut pattern, mut items) = (pattern, items);
    let mut retry: Option<(&[Segment], I)> = None;
    loop {
        let mut later_items = items.clone();
        match (pattern.split_first(), later_items.next()) {
            (None, None) | (Some((Segment::Any, [])), _) => return true,
            (Some((Segment::Any, rest)), _) => {
                retry = Some((rest, items.clone()));
                pattern = rest;
                continue;
            }
            (Some((segment, later_segments)), Some(item)) if takes(segment, &item) => {
                (pattern, items) = (later_segments, later_items);
                continue;
            }
            _ => {}
        }
        let Some((after_any, taken_from)) = &mut retry else { return false };
        if taken_from.next().is_none() {
            return false;
        }
        (pattern, items) = (*after_any, taken_from.clone());
    }
}

#[cfg(test)]
mod tests;
