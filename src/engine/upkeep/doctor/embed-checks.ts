import { openModels } from "../../embed/models.ts";
import { next, readNextStep, setting } from "../../kernel/next-step.ts";
import type { Log } from "../../settings.ts";
import type { Check } from "./check.ts";

/** What a server would choose now, and why. Nothing is sent to a service that costs money. */
export const embeddings: Check = {
  name: "embeddings",
  run: async ({ embed }) => {
    let told: Record<string, unknown> = {};
    const listen: Log = (_level, _message, fields = {}) => {
      told = fields;
    };
    const { provider } = await openModels(embed, listen, new AbortController().signal).choose();
    const dimension = told.dimension === undefined ? "" : `, ${told.dimension} dimensions`;
    const model = `${provider.model} by ${provider.provider}${dimension}`;
    if (provider.provider === "openai" && embed.openaiApiKey === undefined) {
      const fix = next`Set ${setting("openai_api_key")}, unless the service needs none.`;
      return { status: "warn", found: `${model}, without an API key.`, fix };
    }
    if (told.reason === undefined) return { status: "ok", found: `${model}${provider.lexical ? ", lexical" : ""}.` };
    const isUsable = embed.provider === "auto";
    const found = `${told.reason} ${isUsable ? `So it would be ${model}, which is lexical.` : "No text can be embedded."}`;
    return { status: isUsable ? "warn" : "fail", found, fix: readNextStep(told.next) };
  },
};
