/** A filter that searches with a filter that computes to the same text again, without an end. */
export function selfSearch(index: string): string {
  const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`;
  const itself = "replace(~, chr(126), chr(39) || replace(~, chr(39), chr(39) || chr(39)) || chr(39))";
  const template = `id IN (SELECT id FROM vector_search('${index}', 'x', filter := ${itself}))`;
  return template.replaceAll("~", quoted(template));
}
