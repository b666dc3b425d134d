import CheckpointIO

/// Which fields of a `config.json` an architecture reads, so that what it passes over can be told. Belongs to one thread.
final class FieldLog {
    private var read: Set<String> = []

    func add(_ key: String) { read.insert(key) }

    /// The first field of `object` that was not read and may change what a model computes, with its value in words; nil
    /// for none. Objects within it are looked into where something in them was read.
    func unread(in object: JSONObject, prefix: String = "") -> (key: String, value: String)? {
        for (key, value) in object.members where !Self.isSilent(value) {
            let name = prefix + key
            if let inner = value.objectValue, read.contains(where: { $0.hasPrefix(name + ".") }) {
                if let found = unread(in: inner, prefix: name + ".") { return found }
                continue
            }
            if read.contains(name) || prefix.isEmpty && Self.harmless.contains(key) { continue }
            return (name, String(value.text().prefix(60)))
        }
        return nil
    }

    /// Whether a value says that there is nothing: null, false, or an empty list, text or object.
    private static func isSilent(_ value: JSONValue) -> Bool {
        switch value {
        case .null, .bool(false): true
        case .string(let text): text.isEmpty
        case .array(let values): values.isEmpty
        case .object(let object): object.members.isEmpty
        default: false
        }
    }

    /// Fields of transformers' configurations that say nothing of what a decoder computes on text: names, versions, types of
    /// files, tokens, training, generation, and what was learnt with.
    static let harmless: Set<String> = [
        "_name_or_path", "architectures", "attention_dropout", "attn_implementation", "auto_map", "bos_token_id",
        "cls_token_id", "decoder_start_token_id", "dtype", "eos_token_id", "finetuning_task", "id2label",
        "initializer_range", "label2id", "max_length", "model_type", "output_attentions", "output_hidden_states",
        "pad_token_id", "problem_type", "return_dict", "sep_token_id", "task_specific_params", "tie_word_embeddings",
        "tokenizer_class", "torch_dtype", "transformers_version", "unk_token_id", "use_cache", "use_return_dict",
        "license", "license_link", "pretraining_tp", "max_window_layers", "router_aux_loss_coef",
    ]
}
