import CheckpointIO

/// A field of an adapter's configuration: what it holds in a new file, and what of it this program can take.
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

    private static func understood(_ names: String...) -> [PEFTField] {
        names.map { PEFTField(name: $0, initial: .null, effect: .understood) }
    }

    static func named(_ name: String, of kind: AdapterKind) -> PEFTField? { all(of: kind).first { $0.name == name } }

    /// Every field that peft 0.21 writes for the kind; for the parallel adapter, which it lacks, those of LLM-Adapters.
    static func all(of kind: AdapterKind) -> [PEFTField] {
        switch kind {
        case .lora, .dora: loRA
        case .adalora: adaLoRA
        case .adapter: bottleneck
        case .vera: veRA
        }
    }

    /// What every kind's configuration has.
    private static let common: [PEFTField] =
        understood("base_model_name_or_path", "modules_to_save", "peft_type", "target_modules", "task_type") + [
            harmless("auto_mapping"),
            PEFTField(
                name: "bias", initial: .string("none"), effect: .harmlessOnly([.string("none")], remedy: nil)),
            // peft clears it for linear layers, whose weights are never stored the other way round.
            harmless("fan_in_fan_out", .bool(false)),
            harmless("inference_mode", .bool(true)),
            harmless("peft_version", nil),
            harmless("revision"),
            harmless("runtime_config", nil),
        ]

    private static let layers = understood("exclude_modules", "layers_pattern", "layers_to_transform")

    /// What LoRA's and AdaLoRA's configurations have in common.
    private static let lowRank: [PEFTField] =
        common + layers + understood("lora_alpha", "lora_dropout", "rank_pattern", "use_dora") + [
            refused("alora_invocation_tokens"),
            refused("arrow_config"),
            harmless("corda_config"),
            refused("ensure_weight_tying", .bool(false)),
            harmless("eva_config"),
            PEFTField(
                name: "init_lora_weights", initial: .bool(true),
                effect: .harmlessOnly(
                    plainStarts,
                    remedy: "that start changes the base's weights; convert the adapter with peft's "
                        + "path_initial_model_for_weight_conversion first")),
            refused("kasa_config"),
            refused("layer_replication"),
            harmless("loftq_config", .object([:])),
            harmless("lora_ga_config"),
            refused("megatron_config"),
            harmless("megatron_core", .string("megatron.core")),
            refused("monteclora_config"),
            harmless("qalora_group_size", .integer(16)),
            refused("target_parameters"),
            refused("trainable_token_indices"),
            refused("use_bdlora"),
            refused("use_qalora", .bool(false)),
            refused("velora_config"),
        ]

    private static let loRA = lowRank + understood("alpha_pattern", "lora_bias", "r", "use_rslora")

    private static let adaLoRA: [PEFTField] =
        // peft takes no AdaLoRA with DoRA's magnitudes; the first entry of a name counts.
        [refused("use_dora", .bool(false))] + lowRank
        + understood(
            "beta1", "beta2", "deltaT", "init_r", "orth_reg_weight", "target_r", "tfinal", "tinit", "total_step")
        + [
            refused("alpha_pattern", .object([:])),
            refused("lora_bias", .bool(false)),
            // AdaLoRA reads neither.
            harmless("r", .integer(8)),
            harmless("use_rslora", .bool(false)),
        ]

    private static let veRA: [PEFTField] =
        common + layers + understood("d_initial", "projection_prng_key", "r", "save_projection", "vera_dropout") + [
            harmless("init_weights", .bool(true))
        ]

    private static let bottleneck: [PEFTField] =
        common + layers + understood("adapter_dropout", "bottleneck_size", "non_linearity", "scaling") + [
            PEFTField(
                name: "use_parallel_adapter", initial: .bool(true),
                effect: .harmlessOnly(
                    [.bool(true)], remedy: "only adapters that stand beside a projection are known, not behind it")),
            refused("use_adapterp"),
            harmless("init_weights", nil),
            harmless("enable_lora", nil),
            harmless("merge_weights", nil),
        ]
}
