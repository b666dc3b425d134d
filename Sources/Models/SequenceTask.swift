import CheckpointIO

/// What a head for whole sequences is asked for: one of several classes, or a number.
package struct SequenceTask: Sendable, Equatable {
    /// The classes by name, or the one number's; a head has a row for each.
    package let labels: [String]
    /// Whether it is a number.
    package let isRegression: Bool

    /// One of these classes.
    package init(classes: [String]) { (labels, isRegression) = (classes, false) }

    /// A number.
    package static let regression = SequenceTask()

    private init() { (labels, isRegression) = ([Self.name(of: 0)], true) }

    /// Classes without names.
    package init(classCount: Int) { self.init(classes: (0..<classCount).map(Self.name(of:))) }

    /// What transformers calls a class that has no name.
    static func name(of index: Int) -> String { "LABEL_\(index)" }

    /// What transformers calls the kind of problem.
    package var problemType: String { isRegression ? Self.regressionType : Self.classType }

    private static let classType = "single_label_classification"
    private static let regressionType = "regression"
    /// Classes that transformers assumes.
    private static let assumedCount = 2

    /// `{"labels": [...], "problem_type": ...}`, as a record keeps it.
    package var json: JSONValue {
        .object(["labels": .array(labels.map { .string($0) }), "problem_type": .string(problemType)])
    }

    /// Reads `json` back; nil where it is something else.
    package init?(json: JSONValue) {
        guard let names = json["labels"]?.arrayValue?.map(\.stringValue), let type = json["problem_type"]?.stringValue,
            !names.isEmpty, names.allSatisfy({ $0 != nil }), [Self.classType, Self.regressionType].contains(type)
        else { return nil }
        labels = names.compactMap { $0 }
        isRegression = type == Self.regressionType
        if isRegression != (labels.count == 1) { return nil }
    }

    /// Writes what `init` reads, as transformers does.
    package func write(to members: inout JSONObject) {
        var (names, numbers) = (JSONObject(), JSONObject())
        for (index, label) in labels.enumerated() {
            names[String(index)] = .string(label)
            numbers[label] = .integer(index)
        }
        members["id2label"] = .object(names)
        members["label2id"] = .object(numbers)
        members["problem_type"] = .string(problemType)
    }

    /// The task that `config.json` tells. Throws `ModelError.badConfiguration`, and `.unsupportedConfiguration` for
    /// several classes at a time or several numbers.
    init(_ fields: JSONConfigurationFields) throws(ModelError) {
        let names = try Self.names(fields)
        let type = try fields.string("problem_type")
        switch type {
        case nil, Self.classType, Self.regressionType: break
        default:
            throw fields.unsupported(
                "problem_type", "'\(type ?? "")'", "'\(Self.classType)' and '\(Self.regressionType)'")
        }
        isRegression = type.map { $0 == Self.regressionType } ?? (names.count == 1)
        labels = names
        if isRegression, names.count > 1 {
            throw fields.unsupported("problem_type", "'regression' of \(names.count) numbers", "one number")
        }
        if !isRegression, names.count < 2 { throw fields.bad("id2label", "at least two classes", "\(names.count)") }
    }

    private static func names(_ fields: JSONConfigurationFields) throws(ModelError) -> [String] {
        guard let table = fields.member("id2label") else {
            let count = try fields.positiveInteger("num_labels") ?? assumedCount
            return (0..<count).map(name(of:))
        }
        let members = table.objectValue?.members ?? []
        var names = [String?](repeating: nil, count: members.count)
        for (key, value) in members {
            guard let index = Int(key), names.indices.contains(index), let name = value.stringValue else {
                throw fields.bad("id2label", "a name for each class from \"0\" on", "'\(key)'")
            }
            names[index] = name
        }
        let known = names.compactMap { $0 }
        guard known.count == names.count, !known.isEmpty else {
            throw fields.bad("id2label", "a name for each class from \"0\" on", "\(names.count) entries")
        }
        return known
    }
}
