// The rules themselves. Nothing here knows of WebAssembly, so `node --test` tests it as it is.

/// The words of a text in lower case: what stands between blanks and ASCII punctuation (the engine inside a component knows
/// no `\p{L}`). `ema_20` and `ema-20` are two words each.
export function words(text) {
  return new Set(text.toLowerCase().match(/[^\s!-/:-@[-`{-~]+/g) ?? []);
}

/// Those rules of which the tag or a word stands in the text; of `mean-reversion` both its words must.
export function matching(rules, text) {
  const there = words(text);
  const stands = (phrase) => {
    const parts = [...words(phrase)];
    return parts.length > 0 && parts.every((part) => there.has(part));
  };
  return rules.filter((rule) => [rule.tag, ...rule.words].some(stands));
}

/// What a skill is also found by: of each matching rule the tag and every word.
export function entry(rules, skill) {
  const found = matching(rules, [skill.description, skill.code, ...skill.tags].join('\n'));
  return { tags: unique(found.map((rule) => rule.tag)), terms: terms(found) };
}

/// What a question also asks for.
export function expansion(rules, question) {
  return terms(matching(rules, question)).slice(0, QUESTION_TERMS_MAX);
}

/// The host's bounds: a skill has at most 256 terms, a question 64.
const SKILL_TERMS_MAX = 256;
const QUESTION_TERMS_MAX = 64;

function terms(found) {
  return unique(found.flatMap((rule) => [rule.tag, ...rule.words])).slice(0, SKILL_TERMS_MAX);
}

function unique(list) {
  return [...new Set(list)];
}
