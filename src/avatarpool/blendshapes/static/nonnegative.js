// Least squares whose unknowns are not negative: the twin of avatarpool.blendshapes.nonnegative.

const TINY = 1e-10;

/** Returns the x of least x'Gx / 2 - g'x without a negative value, by Lawson's and Hanson's active set. */
export function nonnegative(gram, goal) {
  const values = goal.map(() => 0);
  let free = [];
  for (let turn = 0; turn < 3 * goal.length; turn++) {
    const slope = goal.map((g, i) => g - gram[i].reduce((sum, entry, j) => sum + entry * values[j], 0));
    const held = goal.map((_, i) => i).filter((i) => !free.includes(i) && slope[i] > TINY);
    if (!held.length) break;
    free.push(held.reduce((best, i) => (slope[i] > slope[best] ? i : best)));
    while (free.length) {
      const found = solved(free.map((i) => free.map((j) => gram[i][j])), free.map((i) => goal[i]));
      if (Math.min(...found) > 0) {
        free.forEach((i, k) => (values[i] = found[k]));
        break;
      }
      const steps = free.map((i, k) => (found[k] <= 0 ? values[i] / (values[i] - found[k]) : Infinity));
      const step = Math.min(...steps);
      free.forEach((i, k) => {
        values[i] += step * (found[k] - values[i]);
        if (found[k] <= 0 && values[i] <= TINY) values[i] = 0;
      });
      free = free.filter((i) => values[i] > 0);
    }
  }
  return values;
}

/** Solves a positive definite system, which needs no pivoting. */
function solved(matrix, right) {
  const size = right.length;
  for (let i = 0; i < size; i++) {
    for (let j = i + 1; j < size; j++) {
      const factor = matrix[j][i] / matrix[i][i];
      for (let k = i; k < size; k++) matrix[j][k] -= factor * matrix[i][k];
      right[j] -= factor * right[i];
    }
  }
  for (let i = size; i--; ) {
    for (let k = i + 1; k < size; k++) right[i] -= matrix[i][k] * right[k];
    right[i] /= matrix[i][i];
  }
  return right;
}
