/** The metrics of Holdfast that a text asks for: alert rules, a dashboard, a page. */
export function metricNamesIn(text: string): string[] {
  const names = [...text.matchAll(/\bholdfast_[a-z_]+[a-z]\b/g)].map(([name]) => name);
  return [...new Set(names)].toSorted();
}
