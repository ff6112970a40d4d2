import type { Personalize, Token } from "./personalize";

/**
 * `<saleor-personalize-inbox>`: the messages of the shop to whoever looks, behind a bell with their number; with
 * the attribute `placement` the newest banner of that place instead.
 *
 * Loading the file defines the element. It asks again while the page is looked at, says nothing without an id, and
 * never throws into the shop's page. All its words come from the app, in the language of `language-code` or of the
 * document. Colours follow the page's `color-scheme`; `theme` and the properties `--personalize-accent`,
 * `--personalize-badge`, `--personalize-background` and `--personalize-text` change them.
 *
 * Attributes: `endpoint` (address of the app), `saleor-api-url`, `placement`, `language-code`, `every` (seconds
 * between two polls, 60), `theme` ("light", "dark", "auto": as the device says).
 *
 * Events: `unread` (detail: their number, after every answer that is new), `follow` (detail: the item; prevent it
 * to go to the link in your own way).
 */
export class PersonalizeInbox extends HTMLElement {
  /** Saleor's access token of a signed-in customer, or a function that returns the newest. */
  token?: Token;
  /** What `createPersonalize` returned: its anonymous id speaks for who is not signed in. */
  personalize?: Pick<Personalize, "anonymousId">;
  readonly unreadCount: number;
  open(): void;
  close(): void;
  /** Ask again: after signing in or out, or when you know of news. */
  refresh(): Promise<void>;
}

export interface InboxItem {
  id: string;
  title: string;
  text: string;
  link: string | null;
  imageUrl: string | null;
  promoCode: string | null;
  placement: string | null;
  language: string;
  createdAt: string;
  expiresAt: string;
  isRead: boolean;
}

declare global {
  interface HTMLElementTagNameMap {
    "saleor-personalize-inbox": PersonalizeInbox;
  }
}
