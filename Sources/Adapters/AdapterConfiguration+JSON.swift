import CheckpointIO
import Compute

extension AdapterConfiguration {
    /// Reads the content of an `adapter_config.json`; `file` is its path for messages.
    ///
    /// A field that changes what an adapter computes and that this program does not implement is refused by name unless
    /// it holds its default; so is a field it does not know, unless that is null, false or empty.
    package init(json: JSONValue, file: String) throws(AdapterError) {
        guard let object = json.objectValue else {
            throw .malformed(file: file, what: "the content", expected: "a JSON object", found: "another JSON value")
        }
        let reader = FieldReader(object: object, file: file)
        guard let type = try reader.string("peft_type") else {
            throw .malformed(file: file, what: "'peft_type'", expected: "an adapter type", found: "nothing")
        }
        let (kind, isGated) = try AdapterKind.ofPEFTType(
            type, usesDoRA: try reader.bool("use_dora") ?? false, file: file)
        let other = try Self.otherFields(of: object, kind: kind, file: file)
        guard let targets = try reader.targets("target_modules", allowsAllLinear: true) else {
            throw .malformed(file: file, what: "'target_modules'", expected: "names or an expression", found: "null")
        }
        do {
            let isLowRank = kind == .lora || kind == .dora
            try self.init(
                kind: kind, isGated: isGated, rank: try reader.integer(kind.rankField.name) ?? kind.rankField.initial,
                alpha: try reader.number("lora_alpha") ?? 8,
                dropout: try reader.number(kind.dropoutField) ?? 0,
                usesRSLoRA: isLowRank ? try reader.bool("use_rslora") ?? false : false,
                hasLoRABias: try reader.bool("lora_bias") ?? false, targets: targets,
                excluded: try reader.targets("exclude_modules", allowsAllLinear: false),
                rankPattern: isLowRank ? try reader.integerPattern("rank_pattern") : [],
                alphaPattern: isLowRank ? try reader.numberPattern("alpha_pattern") : [],
                adaLoRA: kind == .adalora ? try reader.adaLoRA() : AdaLoRASettings(),
                bottleneck: kind == .adapter ? try reader.bottleneck() : BottleneckSettings(),
                vera: kind == .vera ? try reader.vera() : VeRASettings(),
                modulesToSave: try reader.strings("modules_to_save") ?? [],
                layersToTransform: try reader.integers("layers_to_transform"),
                layersPattern: try reader.strings("layers_pattern") ?? [],
                taskType: try reader.string("task_type"),
                baseModelPath: try reader.string("base_model_name_or_path"), otherFields: other)
        } catch .badSetting(let name, let expected, let found) {
            throw .malformed(file: file, what: name, expected: expected, found: found)
        } catch .badExpression(let pattern, let reason) {
            throw .malformed(file: file, what: "'\(pattern)'", expected: "a regular expression", found: reason)
        }
    }

    /// The content of `adapter_config.json`: every field that peft 0.21 writes for this type.
    package var json: JSONValue {
        var fields = otherFields
        for field in PEFTField.all(of: kind) where fields[field.name] == nil && !field.isUnderstood {
            if let initial = field.initial { fields[field.name] = initial }
        }
        fields["peft_type"] = .string(isGated ? kind.gatedType : kind.peftType)
        fields["base_model_name_or_path"] = baseModelPath.map { .string($0) } ?? .null
        fields["task_type"] = taskType.map { .string($0) } ?? .null
        fields[kind.rankField.name] = .integer(rank)
        fields[kind.dropoutField] = .real(dropout)
        fields["target_modules"] = Self.json(of: targets)
        fields["modules_to_save"] = modulesToSave.isEmpty ? .null : .array(modulesToSave.map { .string($0) })
        if excluded != nil || kind != .vera && kind != .adapter {
            fields["exclude_modules"] = excluded.map { Self.json(of: $0) } ?? .null
        }
        if kind != .adapter || layersToTransform != nil {
            fields["layers_to_transform"] = layersToTransform.map { .array($0.map { .integer($0) }) } ?? .null
            fields["layers_pattern"] = layersPattern.isEmpty ? .null : .array(layersPattern.map { .string($0) })
        }
        for (name, value) in kindFields { fields[name] = value }
        return .object(fields)
    }

    /// The fields that only this kind has.
    private var kindFields: [(String, JSONValue)] {
        switch kind {
        case .lora, .dora:
            [
                ("lora_alpha", Self.number(alpha)), ("use_rslora", .bool(usesRSLoRA)),
                ("use_dora", .bool(kind == .dora)), ("lora_bias", .bool(hasLoRABias)),
                ("rank_pattern", .object(Self.object(rankPattern) { .integer($0) })),
                ("alpha_pattern", .object(Self.object(alphaPattern) { Self.number($0) })),
            ]
        case .adalora:
            [
                ("lora_alpha", Self.number(alpha)), ("use_rslora", .bool(false)), ("use_dora", .bool(false)),
                ("lora_bias", .bool(false)), ("alpha_pattern", .object([:])),
                ("target_r", .integer(adaLoRA.targetRank)), ("tinit", .integer(adaLoRA.initialSteps)),
                ("tfinal", .integer(adaLoRA.finalSteps)), ("deltaT", .integer(adaLoRA.interval)),
                ("beta1", .real(adaLoRA.beta1)), ("beta2", .real(adaLoRA.beta2)),
                ("orth_reg_weight", .real(adaLoRA.orthogonalWeight)),
                // peft loads none without; before the first run the fewest steps that the settings allow stand there.
                ("total_step", .integer(adaLoRA.totalSteps ?? adaLoRA.initialSteps + adaLoRA.finalSteps + 1)),
                ("rank_pattern", keptRanksJSON),
            ]
        case .adapter:
            [
                ("non_linearity", .string(bottleneck.activation.rawValue)), ("scaling", .real(bottleneck.scaling)),
                ("use_parallel_adapter", .bool(true)),
            ]
        case .vera:
            [
                ("d_initial", .real(vera.initialD)), ("projection_prng_key", .integer(vera.projectionKey)),
                ("save_projection", .bool(true)),
            ]
        }
    }

    private var keptRanksJSON: JSONValue {
        if adaLoRA.keptRanks.isEmpty { return .null }
        var object = JSONObject()
        for path in adaLoRA.keptRanks.keys.sorted() {
            object[path + PEFTNames.adaLoRAE] = .array(adaLoRA.keptRanks[path]!.map { .bool($0) })
        }
        return .object(object)
    }

    /// The text of `adapter_config.json`, as peft lays it out: indent 2, keys sorted.
    ///
    /// The keys of a pattern keep their order even so: with more than one that matches a module, the first counts.
    package var jsonText: String {
        guard case .object(let fields) = json else { return "" }
        var sorted = JSONObject()
        for key in fields.keys.sorted() { sorted[key] = fields[key] }
        return JSONValue.object(sorted).text(indent: 2)
    }

    private static func json(of targets: TargetSpecification) -> JSONValue {
        switch targets {
        case .allLinear: .string(TargetSpecification.allLinearName)
        case .expression(let pattern): .string(pattern)
        case .names(let names): .array(names.map { .string($0) })
        }
    }

    private static func object<Value>(
        _ entries: [PatternEntry<Value>], _ value: (Value) -> JSONValue
    ) -> JSONObject {
        entries.reduce(into: JSONObject()) { object, entry in
            if object[entry.pattern] == nil { object[entry.pattern] = value(entry.value) }
        }
    }

    /// Whole numbers without a point, as peft's integer alphas are.
    private static func number(_ value: Double) -> JSONValue {
        Int(exactly: value).map { .integer($0) } ?? .real(value)
    }

    private static func otherFields(
        of object: JSONObject, kind: AdapterKind, file: String
    ) throws(AdapterError) -> JSONObject {
        var other = JSONObject()
        for (name, value) in object.members {
            if let field = PEFTField.named(name, of: kind) {
                if field.isUnderstood { continue }
                guard field.accepts(value) else {
                    throw .unsupportedField(file: file, field: name, value: value.text(), remedy: field.remedy)
                }
            } else if !PEFTField.isInert(value) {
                throw .unsupportedField(
                    file: file, field: name, value: value.text(),
                    remedy: "it is not a field of peft 0.21; take it out if it has no effect")
            }
            other[name] = value
        }
        return other
    }
}

extension AdapterKind {
    /// The field that holds the rank or size, and what a file without it means.
    fileprivate var rankField: (name: String, initial: Int) {
        switch self {
        case .lora, .dora: ("r", 8)
        case .adalora: ("init_r", 12)
        case .adapter: ("bottleneck_size", 256)
        case .vera: ("r", 256)
        }
    }

    /// The field that holds the dropout of x.
    fileprivate var dropoutField: String {
        switch self {
        case .lora, .dora, .adalora: "lora_dropout"
        case .adapter: "adapter_dropout"
        case .vera: "vera_dropout"
        }
    }
}

/// Reads typed fields of a configuration; null counts as absent.
private struct FieldReader {
    let object: JSONObject
    let file: String

    private func value(_ name: String) -> JSONValue? {
        object[name].flatMap { $0.isNull ? nil : $0 }
    }

    private func wrong(_ name: String, _ expected: String, _ found: JSONValue) -> AdapterError {
        .malformed(file: file, what: "'\(name)'", expected: expected, found: found.text())
    }

    func string(_ name: String) throws(AdapterError) -> String? {
        guard let value = value(name) else { return nil }
        guard let text = value.stringValue else { throw wrong(name, "a string", value) }
        return text
    }

    func bool(_ name: String) throws(AdapterError) -> Bool? {
        guard let value = value(name) else { return nil }
        guard let flag = value.boolValue else { throw wrong(name, "true or false", value) }
        return flag
    }

    func integer(_ name: String) throws(AdapterError) -> Int? {
        guard let value = value(name) else { return nil }
        guard let number = value.intValue else { throw wrong(name, "an integer", value) }
        return number
    }

    func number(_ name: String) throws(AdapterError) -> Double? {
        guard let value = value(name) else { return nil }
        guard let number = value.doubleValue, number.isFinite else { throw wrong(name, "a finite number", value) }
        return number
    }

    func strings(_ name: String) throws(AdapterError) -> [String]? {
        guard let value = value(name) else { return nil }
        if let text = value.stringValue { return text.isEmpty ? [] : [text] }
        let texts = value.arrayValue?.compactMap(\.stringValue)
        guard let texts, texts.count == value.arrayValue?.count else {
            throw wrong(name, "a string or a list of strings", value)
        }
        return texts
    }

    func integers(_ name: String) throws(AdapterError) -> [Int]? {
        guard let value = value(name) else { return nil }
        if let number = value.intValue { return [number] }
        let numbers = value.arrayValue?.compactMap(\.intValue)
        guard let numbers, numbers.count == value.arrayValue?.count else {
            throw wrong(name, "an integer or a list of integers", value)
        }
        return numbers
    }

    func targets(_ name: String, allowsAllLinear: Bool) throws(AdapterError) -> TargetSpecification? {
        guard let value = value(name) else { return nil }
        if let text = value.stringValue {
            if allowsAllLinear, text.lowercased() == TargetSpecification.allLinearName { return .allLinear }
            if text.isEmpty, !allowsAllLinear { return nil }
            // Compiled when it is matched: an adapter whose tensors name its modules can do without.
            return .expression(text)
        }
        let names = try strings(name) ?? []
        return names.isEmpty && !allowsAllLinear ? nil : .names(names)
    }

    func integerPattern(_ name: String) throws(AdapterError) -> [AdapterConfiguration.PatternEntry<Int>] {
        var entries: [AdapterConfiguration.PatternEntry<Int>] = []
        for (pattern, value) in try members(name) {
            guard let number = value.intValue else { throw wrong(name, "integers by module pattern", value) }
            entries.append(.init(pattern, number))
        }
        return entries
    }

    func numberPattern(_ name: String) throws(AdapterError) -> [AdapterConfiguration.PatternEntry<Double>] {
        var entries: [AdapterConfiguration.PatternEntry<Double>] = []
        for (pattern, value) in try members(name) {
            guard let number = value.doubleValue else { throw wrong(name, "numbers by module pattern", value) }
            entries.append(.init(pattern, number))
        }
        return entries
    }

    func adaLoRA() throws(AdapterError) -> AdaLoRASettings {
        var settings = AdaLoRASettings()
        settings.targetRank = try integer("target_r") ?? settings.targetRank
        settings.initialSteps = try integer("tinit") ?? settings.initialSteps
        settings.finalSteps = try integer("tfinal") ?? settings.finalSteps
        settings.interval = try integer("deltaT") ?? settings.interval
        settings.beta1 = try number("beta1") ?? settings.beta1
        settings.beta2 = try number("beta2") ?? settings.beta2
        settings.orthogonalWeight = try number("orth_reg_weight") ?? settings.orthogonalWeight
        settings.totalSteps = try integer("total_step")
        for (key, value) in try members("rank_pattern") {
            let kept = value.arrayValue?.compactMap(\.boolValue)
            // peft 0.21 writes the path with ".lora_E"; a wrapped model's prefix may stand before it.
            guard let kept, kept.count == value.arrayValue?.count,
                let (module, _) = PEFTNames.split(
                    PEFTNames.written(key, suffixes: [PEFTNames.adaLoRAE]), suffixes: [PEFTNames.adaLoRAE])
            else {
                throw wrong("rank_pattern", "lists of flags by '<module>.lora_E'", value)
            }
            settings.keptRanks[module] = kept
        }
        return settings
    }

    func bottleneck() throws(AdapterError) -> BottleneckSettings {
        var settings = BottleneckSettings()
        if let name = try string("non_linearity") {
            let names = Activation.allCases.map(\.rawValue)
            guard let activation = Activation(rawValue: name == "swish" ? Activation.silu.rawValue : name) else {
                throw .unsupportedField(
                    file: file, field: "non_linearity", value: "\"\(name)\"",
                    remedy: "known ones: \(names.joined(separator: ", "))")
            }
            settings.activation = activation
        }
        settings.scaling = try number("scaling") ?? settings.scaling
        return settings
    }

    func vera() throws(AdapterError) -> VeRASettings {
        var settings = VeRASettings()
        settings.initialD = try number("d_initial") ?? settings.initialD
        settings.projectionKey = try integer("projection_prng_key") ?? settings.projectionKey
        return settings
    }

    private func members(_ name: String) throws(AdapterError) -> [(key: String, value: JSONValue)] {
        guard let value = value(name) else { return [] }
        guard let object = value.objectValue else { throw wrong(name, "an object", value) }
        return object.members
    }
}
