// An indexer that misbehaves when a question says so.

export const skillIndexer = {
  index: () => ({ terms: ['probe'], tags: [], vector: new Float32Array(0) }),
  expand(question) {
    const kept = [];
    while (question.includes('hog')) kept.push(new Uint8Array(1 << 20).fill(1));
    while (question.includes('loop'));
    return { terms: ['probe'], vector: new Float32Array(0) };
  },
};
