import assert from 'node:assert/strict';
import test from 'node:test';
import { entry, expansion, words } from './rules.js';

const RULES = [
  { tag: 'mean-reversion', words: ['zscore', 'oversold'] },
  { tag: 'options', words: ['gamma', 'Straddle'] },
];

test('a word of a rule in code, description or tags gives its tag and every word', () => {
  const skill = { description: 'Buys the spread', code: 'if zscore < -2: buy()', tags: ['straddle'] };
  assert.deepEqual(entry(RULES, skill), {
    tags: ['mean-reversion', 'options'],
    terms: ['mean-reversion', 'zscore', 'oversold', 'options', 'gamma', 'Straddle'],
  });
  assert.equal(entry(RULES, { description: 'reversion to the mean', code: '', tags: [] }).tags[0], 'mean-reversion');
  assert.deepEqual(entry([{ tag: '-', words: ['-'] }], { description: '-', code: '', tags: [] }).tags, []);
  assert.deepEqual(entry(RULES, { description: 'zscores', code: '', tags: [] }), { tags: [], terms: [] });
});

test('a question asks for the other words of its rule, at most 64', () => {
  assert.deepEqual(expansion(RULES, 'what is OVERSOLD?'), ['mean-reversion', 'zscore', 'oversold']);
  const many = [{ tag: 't', words: Array.from({ length: 100 }, (_, i) => `w${i}`) }];
  assert.equal(expansion(many, 'w7').length, 64);
});

test('words are runs of letters and digits', () => {
  assert.deepEqual([...words('EMA_20 über-kauft')], ['ema', '20', 'über', 'kauft']);
});
