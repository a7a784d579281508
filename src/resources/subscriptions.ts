/** For one session or one `subscriptions/listen`, which keeps all of them and compares them with every change. */
export const MAX_SUBSCRIBED = 1000;
/** Several times our longest address. Unknown addresses are accepted: a later version may have them. */
const MAX_URI_CHARS = 1_024;
const SHOWN_CHARS = 100;

/** The reason why a client cannot subscribe to all of these. */
export function whyNotSubscribed(uris: readonly string[]): string | undefined {
  if (uris.length > MAX_SUBSCRIBED) {
    return `${uris.length} resources are more than the ${MAX_SUBSCRIBED} that one subscription may name. Name fewer, or leave resources out and use resourcesListChanged.`;
  }
  const long = uris.find((uri) => uri.length > MAX_URI_CHARS);
  if (long === undefined) return undefined;
  return `The address ${JSON.stringify(`${long.slice(0, SHOWN_CHARS)}…`)} has ${long.length} characters, more than ${MAX_URI_CHARS}. Subscribe to an address of resources/list, or of resources/templates/list with its variable filled in.`;
}
