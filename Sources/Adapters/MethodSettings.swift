import CheckpointIO
import TensorCore

/// What a kind of adapter is set to, and everything about the kind that is no computation: its names, its fields in
/// `adapter_config.json`, its options, its checks, what there is to say of it. Each kind has one in its own file, and
/// `AdapterKind.allCases` lists the kinds.
package protocol MethodSettings: Sendable, Equatable {
    /// The entry in the table of kinds.
    static var kind: AdapterKind { get }
    /// How the kind computes.
    static var method: any AdapterMethod.Type { get }

    // MARK: The file

    /// The `peft_type` of a dense adapter.
    static var peftType: String { get }
    /// What stands behind `TS_` in the `peft_type` of a gated one; `peftType` unless several kinds share that.
    static var gatedType: String { get }
    /// Whether fields of `peftType` are of this kind, where several share that; throws `.malformed`.
    static func claims(_ fields: FieldReader) throws(AdapterError) -> Bool
    /// Whether peft has the kind, so that it loads a dense adapter of ours.
    static var isInPEFT: Bool { get }
    /// Which of `exclude_modules` and `layers_to_transform` peft's form of the kind heeds.
    static var selectorsInPEFT: [String] { get }
    /// Which of `exclude_modules` and `layers_to_transform` a file always has, null where nothing is said.
    static var selectorFields: [String] { get }
    /// Every field that a file of the kind may have.
    static var fields: [PEFTField] { get }
    /// Reads the kind's fields; throws `.malformed`, `.unsupportedField`, `.badSetting`.
    init(reading fields: FieldReader) throws(AdapterError)
    /// The kind's fields as they are written, other than those that every kind has.
    var fieldValues: [(name: String, value: JSONValue)] { get }

    // MARK: New adapters

    /// The options that a new adapter can be given.
    static var options: [MethodOption] { get }
    /// What a new adapter wraps where nothing is said; nil for the paper's commonsense targets.
    static var defaultTargets: [String]? { get }
    /// The settings of a new adapter: the options, else the paper's numbers, else the kind's own defaults. Its targets
    /// are among the options, by `MethodOption.targetsKey`.
    init(options: FieldReader, paper: PaperNumbers?) throws(AdapterError)

    // MARK: The numbers

    /// Throws `.badSetting` or `.badExpression` for settings that cannot be; `targets` are those of the adapter.
    func check(targets: TargetSpecification) throws(AdapterError)
    /// r where nothing else is said, a narrow layer's size; nil for a method without a narrow middle.
    var rank: Int? { get }
    /// r of the module at `path`; 0 where the method took it away.
    func rank(for path: String) -> Int?
    /// alpha, where the method has one.
    var alpha: Double? { get }
    /// The probability with which training drops an element of x, in 0..<1.
    var dropout: Double { get }
    /// The factor on the update (NUMERICS, "Adapter updates M(x)").
    func scaling(for path: String) -> Float
    /// What is said of modules by their paths, for the `kept` ones alone.
    func restricted(to kept: NameSet) -> Self
    /// What is said by patterns or paths, said for each module by its new path.
    func renamed(_ names: [(old: String, new: String)]) -> Self

    // MARK: A run's files

    /// The tensors by which a run keeps, after `step` of its steps, what the kind does to all modules of `adapter` together
    /// (`AdapterSchedule.state`).
    func scheduleTensors(
        of adapter: AdapterDirectory, afterStep step: Int, of totalSteps: Int
    ) -> [(name: String, shape: [Int])]
    /// The adapter in the sizes that it will have after a run of so many steps, as far as they are known before it; nil
    /// where those are its own.
    func expected(_ adapter: AdapterDirectory, after totalSteps: Int) throws(AdapterError) -> AdapterDirectory?

    // MARK: What is said of it

    /// The method's numbers at the modules of `adapter`, which is of this kind, name and value each, for people.
    func facts(of adapter: AdapterDirectory) -> [(name: String, value: String)]
    /// What the same update in PyTorch (`tspeft_torch.py`) needs to know of a module beside its tensors and scaling.
    func torchSettings(for module: String) -> JSONObject
}

extension MethodSettings {
    package static var gatedType: String { peftType }
    package static func claims(_ fields: FieldReader) throws(AdapterError) -> Bool { true }
    package static var isInPEFT: Bool { true }
    package static var selectorsInPEFT: [String] { [PEFTNames.excludedField, PEFTNames.layersField] }
    package static var defaultTargets: [String]? { nil }
    package static var selectorFields: [String] { [PEFTNames.excludedField, PEFTNames.layersField] }
    package func check(targets: TargetSpecification) throws(AdapterError) {}
    package func rank(for path: String) -> Int? { rank }
    package var alpha: Double? { nil }
    package func restricted(to kept: NameSet) -> Self { self }
    package func renamed(_ names: [(old: String, new: String)]) -> Self { self }
    package func torchSettings(for module: String) -> JSONObject { [:] }
    package func scheduleTensors(
        of adapter: AdapterDirectory, afterStep step: Int, of totalSteps: Int
    ) -> [(name: String, shape: [Int])] { [] }
    package func expected(
        _ adapter: AdapterDirectory, after totalSteps: Int
    ) throws(AdapterError) -> AdapterDirectory? { nil }

    func isEqual(to other: any MethodSettings) -> Bool { other as? Self == self }

    /// Throws `.badSetting` for a rank that no projection can have.
    static func check(rank: Int) throws(AdapterError) {
        guard (1...AdapterConfiguration.rankLimit).contains(rank) else {
            throw .badSetting(
                name: "rank", expected: "between 1 and \(AdapterConfiguration.rankLimit)", found: "\(rank)")
        }
    }

    /// Throws `.badSetting` for a number that is none as a `Float`.
    static func check(finite value: Double, _ name: String) throws(AdapterError) {
        guard Float(value).isFinite else {
            throw .badSetting(name: name, expected: "a finite number", found: "\(value)")
        }
    }
}

/// The numbers of the paper (arXiv 2511.16147) for a family of tasks, from which each kind takes what it has use for.
package struct PaperNumbers: Sendable, Equatable {
    /// r of LoRA and DoRA, AdaLoRA's target.
    package let rank: Int
    /// A parallel adapter's size; nil where the paper trained none.
    package let adapterSize: Int?
    /// The factor on the update.
    package let scaling: Double
    /// Dropout of x.
    package let dropout: Double

    /// See the properties.
    package init(rank: Int, adapterSize: Int?, scaling: Double, dropout: Double) {
        self.rank = rank
        self.adapterSize = adapterSize
        self.scaling = scaling
        self.dropout = dropout
    }
}
