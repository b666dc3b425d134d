import CheckpointIO

/// A field of peft 0.21's LoraConfig: what it holds in a new file, and what of it this program can take.
struct PEFTField: Sendable {
    /// What a field means to a reader that does not act on it.
    enum Effect: Sendable {
        /// `AdapterConfiguration` has a property for it.
        case understood
        /// It says where the adapter came from or how it started; what is stored computes the same.
        case harmless
        /// Any value but null, false and empty ones changes what the adapter computes.
        case changesResult(remedy: String?)
        /// Only these values leave the result as it is.
        case harmlessOnly([JSONValue], remedy: String?)
    }

    let name: String
    /// The value that peft writes by default; nil where a new file goes without the field.
    let initial: JSONValue?
    let effect: Effect

    var isUnderstood: Bool { if case .understood = effect { true } else { false } }

    /// What a user can do about a refused value.
    var remedy: String? {
        switch effect {
        case .understood, .harmless: nil
        case .changesResult(let remedy), .harmlessOnly(_, let remedy): remedy
        }
    }

    /// Whether `value` leaves the result as it is.
    func accepts(_ value: JSONValue) -> Bool {
        switch effect {
        case .understood, .harmless: true
        case .changesResult: Self.isInert(value)
        case .harmlessOnly(let values, _): values.contains(value) || value.isNull
        }
    }

    /// Whether `value` is null, false or empty.
    static func isInert(_ value: JSONValue) -> Bool {
        switch value {
        case .null, .bool(false): true
        case .string(let text): text.isEmpty
        case .array(let elements): elements.isEmpty
        case .object(let object): object.count == 0
        case .bool(true), .number: false
        }
    }

    static func named(_ name: String) -> PEFTField? { all.first { $0.name == name } }

    private static func refused(
        _ name: String, _ initial: JSONValue = .null, remedy: String? = nil
    ) -> PEFTField {
        PEFTField(name: name, initial: initial, effect: .changesResult(remedy: remedy))
    }

    private static func harmless(_ name: String, _ initial: JSONValue? = .null) -> PEFTField {
        PEFTField(name: name, initial: initial, effect: .harmless)
    }

    /// The starts that leave the base's weights alone. PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA subtract from the base
    /// what they put into the adapter, and peft does so again at loading.
    private static let plainStarts: [JSONValue] = [
        .bool(true), .bool(false), .string("gaussian"), .string("eva"), .string("orthogonal"),
    ]

    private static let understood = [
        "alpha_pattern", "base_model_name_or_path", "exclude_modules", "layers_pattern", "layers_to_transform",
        "lora_alpha", "lora_dropout", "peft_type", "r", "rank_pattern", "target_modules", "task_type", "use_rslora",
    ]

    /// Every field that peft 0.21 writes.
    static let all: [PEFTField] =
        understood.map { PEFTField(name: $0, initial: .null, effect: .understood) } + [
            refused("alora_invocation_tokens"),
            refused("arrow_config"),
            harmless("auto_mapping"),
            PEFTField(
                name: "bias", initial: .string("none"), effect: .harmlessOnly([.string("none")], remedy: nil)),
            harmless("corda_config"),
            refused("ensure_weight_tying", .bool(false)),
            harmless("eva_config"),
            refused("fan_in_fan_out", .bool(false)),
            harmless("inference_mode", .bool(true)),
            PEFTField(
                name: "init_lora_weights", initial: .bool(true),
                effect: .harmlessOnly(
                    plainStarts,
                    remedy: "that start changes the base's weights; convert the adapter with peft's "
                        + "path_initial_model_for_weight_conversion first")),
            refused("kasa_config"),
            refused("layer_replication"),
            harmless("loftq_config", .object([:])),
            refused("lora_bias", .bool(false)),
            harmless("lora_ga_config"),
            refused("megatron_config"),
            harmless("megatron_core", .string("megatron.core")),
            refused("modules_to_save"),
            refused("monteclora_config"),
            harmless("peft_version", nil),
            harmless("qalora_group_size", .integer(16)),
            harmless("revision"),
            harmless("runtime_config", nil),
            refused("target_parameters"),
            refused("trainable_token_indices"),
            refused("use_bdlora"),
            refused("use_dora", .bool(false)),
            refused("use_qalora", .bool(false)),
            refused("velora_config"),
        ]
}
