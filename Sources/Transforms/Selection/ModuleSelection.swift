import CheckpointIO
import TensorCore

/// A choice of modules, as `rank-modules` writes it and `inject` and `prune` read it.
///
/// The file is a JSON object: `modules` (paths in checkpoint order), `source` (the set of tokens the choice rests on),
/// `keep` (the rule), `by` (the ranking's rule, where it is not sparsity), `adapter` (where the ranking came from), `considered` (modules that were ranked). Only `modules`
/// is needed, so that a list can be written by hand.
package struct ModuleSelection: Sendable, Equatable {
    /// The chosen modules' paths.
    package let modules: [String]
    /// The set of tokens that the choice rests on.
    package let source: String?
    /// The rule, such as `50%`.
    package let keep: String?
    /// The rule of the ranking, such as `relative-norm`; nil for sparsity, and for a list by hand.
    package let rule: String?
    /// The adapter that was ranked.
    package let adapter: String?
    /// Modules that were ranked.
    package let consideredCount: Int?

    /// A choice; see the type for what each part is.
    package init(
        modules: [String], source: String? = nil, keep: String? = nil, rule: String? = nil,
        adapter: String? = nil,
        consideredCount: Int? = nil
    ) {
        self.modules = modules
        self.source = source
        self.keep = keep
        self.rule = rule == RankingRules.standard.name ? nil : rule
        self.adapter = adapter
        self.consideredCount = consideredCount
    }

    private static let fileLimit = 64 << 20

    /// Reads a selection file; throws `TransformError.malformedSelection` or `CheckpointError`.
    package static func read(_ path: String) throws -> ModuleSelection {
        let bytes = try readSmallFile(path, limit: fileLimit)
        let value: JSONValue
        do {
            value = try JSONValue.parse(bytes.withoutByteOrderMark)
        } catch {
            throw TransformError.malformedSelection(file: path, problem: "\(error)")
        }
        return try ModuleSelection(json: value, file: path)
    }

    /// Writes the selection to a file; throws `CheckpointError`.
    package func write(to output: OutputTarget) throws(CheckpointError) {
        let file = try AtomicFileWriter(output)
        try file.write(Array((json.text(indent: 2) + "\n").utf8))
        try file.commit()
    }

    init(json: JSONValue, file: String) throws(TransformError) {
        guard let elements = json["modules"]?.arrayValue else {
            throw .malformedSelection(file: file, problem: "it has no list 'modules'")
        }
        var modules: [String] = []
        var seen: NameSet = []
        for element in elements {
            guard let module = element.stringValue, !module.isEmpty else {
                throw .malformedSelection(file: file, problem: "'modules' holds \(element.text()), not a path")
            }
            guard seen.insert(module).inserted else {
                throw .malformedSelection(file: file, problem: "module '\(module)' is listed twice")
            }
            modules.append(module)
        }
        guard !modules.isEmpty else { throw .malformedSelection(file: file, problem: "'modules' is empty") }
        self.init(
            modules: modules, source: json["source"]?.stringValue, keep: json["keep"]?.stringValue,
            rule: json["by"]?.stringValue,
            adapter: json["adapter"]?.stringValue, consideredCount: json["considered"]?.integer(in: .counts))
    }

    /// The selection as JSON; absent parts are left out.
    package var json: JSONValue {
        var object = JSONObject()
        object["modules"] = .array(modules.map { .string($0) })
        if let source { object["source"] = .string(source) }
        if let keep { object["keep"] = .string(keep) }
        if let rule { object["by"] = .string(rule) }
        if let adapter { object["adapter"] = .string(adapter) }
        if let consideredCount { object["considered"] = .integer(consideredCount) }
        return .object(object)
    }
}
