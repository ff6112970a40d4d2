/**
 * Push of saleor-personalize in a React Native app, over @react-native-firebase/messaging.
 *
 * Nothing is imported: hand in `messaging()` of that library and what your app knows. `App.tsx` in the README
 * shows how it is wired.
 */

/** What is used of `FirebaseMessagingTypes.Module`. */
export interface Messaging {
  getToken(): Promise<string>;
  deleteToken(): Promise<void>;
  onTokenRefresh(listener: (token: string) => void): () => void;
  onMessage(listener: (message: RemoteMessage) => void): () => void;
  onNotificationOpenedApp(listener: (message: RemoteMessage) => void): () => void;
  getInitialNotification(): Promise<RemoteMessage | null>;
}

/** What is used of `FirebaseMessagingTypes.RemoteMessage`. */
export interface RemoteMessage {
  data?: Record<string, string | object>;
  notification?: { title?: string; body?: string };
}

/** What a push of saleor-personalize says. */
export interface Push {
  messageId: string;
  title: string;
  text: string;
  /** Where a tap leads: an address of your storefront, or one of your app's own. */
  deepLink: string;
  /** A voucher's code for this person alone; empty without one. */
  promoCode: string;
}

export interface Options {
  /** Address of saleor-personalize. */
  endpoint: string;
  /** Of the shop, as the app calls Saleor. */
  saleorApiUrl: string;
  messaging: Messaging;
  platform: "ANDROID" | "IOS";
  /** The access token of Saleor while somebody is signed in, else "". */
  customerToken: () => string;
  /** Of this installation of the app: 16 to 64 letters, digits, "-" or "_", such as a UUID. */
  anonymousId: () => string;
  languageCode?: () => string;
  /** Somebody tapped a push: go to `deepLink`, and put `promoCode` into the cart. */
  onOpen: (push: Push) => void;
  /** A push came while the app is open: the system shows nothing then. */
  onForeground?: (push: Push) => void;
}

export interface Registered {
  device: { id: string; isSignedIn: boolean } | null;
  /** What holds for offers and reminders by push; none go without GRANTED. */
  marketing: "GRANTED" | "DENIED" | "PENDING" | null;
}

interface Answer {
  data?: Record<string, { errors: { code: string; message: string }[] } & Partial<Registered>> | null;
  errors?: { message: string }[];
}

const REGISTER = `mutation Register(
  $token: String!, $platform: PushPlatform!, $language: String, $marketing: Boolean, $wording: String
) {
  registerDevice(token: $token, platform: $platform, languageCode: $language, allowsMarketing: $marketing,
    wordingVersion: $wording) {
    device { id isSignedIn }
    marketing
    errors { code message }
  }
}`;
const UNREGISTER = `mutation Unregister($token: String!) {
  unregisterDevice(token: $token) { errors { code message } }
}`;

const OPENED = `mutation Opened($id: ID!) { pushOpened(messageId: $id) { errors { code message } } }`;

/** Read a push; null when it is none of saleor-personalize. */
export function read(message: RemoteMessage | null): Push | null {
  const text = (name: string): string => {
    const value = message?.data?.[name];
    return typeof value === "string" ? value : "";
  };
  if (!text("message_id")) return null;
  return {
    messageId: text("message_id"),
    title: message?.notification?.title ?? "",
    text: message?.notification?.body ?? "",
    deepLink: text("deep_link"),
    promoCode: text("promo_code"),
  };
}

export function createPush(options: Options) {
  const { endpoint, saleorApiUrl, messaging, platform } = options;

  async function ask(query: string, variables: object, isSignedIn: boolean): Promise<Partial<Registered>> {
    const headers: Record<string, string> = {
      "Content-Type": "application/json",
      "Saleor-Api-Url": saleorApiUrl,
    };
    if (isSignedIn && options.customerToken()) headers.Authorization = `Bearer ${options.customerToken()}`;
    if (isSignedIn && options.anonymousId()) headers["X-Anonymous-Id"] = options.anonymousId();
    const response = await fetch(`${endpoint}/graphql/`, {
      method: "POST",
      headers,
      body: JSON.stringify({ query, variables }),
    });
    const { data, errors } = (await response.json()) as Answer;
    const answer = Object.values(data ?? {})[0];
    const fault = errors?.[0] ?? answer?.errors[0];
    if (fault || !answer) throw new Error(fault?.message ?? `saleor-personalize answered ${response.status}`);
    return answer;
  }

  async function register(token: string, said: { allowsMarketing?: boolean; wording?: string } = {}): Promise<Registered> {
    const answer = await ask(
      REGISTER,
      {
        token,
        platform,
        language: options.languageCode?.() ?? "",
        marketing: said.allowsMarketing,
        wording: said.wording ?? "",
      },
      true,
    );
    return { device: answer.device ?? null, marketing: answer.marketing ?? null };
  }

  const open = (message: RemoteMessage | null): void => {
    const push = read(message);
    if (!push) return;
    options.onOpen(push);
    // What was seen here does not come by e-mail as well. When it cannot be told, the app goes on.
    ask(OPENED, { id: push.messageId }, false).catch(() => undefined);
  };

  return {
    /** At each start of the app, once the system's permission was given; and after signing in. */
    async refresh(): Promise<Registered> {
      return register(await messaging.getToken());
    },

    /** Behind your own switch; `wording` names the text beside it. */
    async choose(allowsMarketing: boolean, wording = ""): Promise<Registered> {
      return register(await messaging.getToken(), { allowsMarketing, wording });
    },

    /** At sign-out: nothing of this person may come to the device any more. The next start gets a new token. */
    async signOut(): Promise<void> {
      await ask(UNREGISTER, { token: await messaging.getToken() }, false);
      await messaging.deleteToken();
    },

    /** Once, when the app starts; returns what ends it. */
    listen(): () => void {
      // A token that could not be told now is told at the next start.
      const ends = [
        messaging.onTokenRefresh((token) => void register(token).catch(() => undefined)),
        messaging.onNotificationOpenedApp(open),
        messaging.onMessage((message) => {
          const push = read(message);
          if (push) options.onForeground?.(push);
        }),
      ];
      void messaging.getInitialNotification().then(open);
      return () => ends.forEach((end) => end());
    },
  };
}
