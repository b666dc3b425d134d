import Compute
import Glibc

/// The angles that pairs of a head's elements turn by.
package struct RotaryFrequencies: Sendable, Equatable {
    /// The base of the frequencies.
    package var base: Double
    /// How they are changed.
    package var scaling: RotaryScaling
    /// Elements of a head that turn.
    package var turned: Int
    /// The longest sequence that the model was made for, beyond which a dynamic scaling begins.
    package var maximumPositions: Int

    /// The angle that each pair turns by for each position (radians), turned / 2 of them, in a pass over so many
    /// positions: base^(-2i/turned), changed as the scaling says.
    ///
    /// Every step rounds to F32, as in transformers: what a unit in the last place here turns a late position by is
    /// more than F32 activations lose elsewhere.
    package func values(positions: Int) -> [Float] {
        var base = base
        switch scaling {
        case .yarn(let yarn): return yarn.frequencies(base: base, turned: turned)
        case .longrope(let long): return divided(by: long.factors(positions: positions))
        case .dynamic(let factor):
            let length = Double(max(positions, maximumPositions))
            let growth = factor * length / Double(maximumPositions) - (factor - 1)
            base *= pow(growth, Double(turned) / Double(turned - 2))
        case .standard, .linear, .factors, .llama3: break
        }
        return (0..<turned / 2).map { index in
            let exponent = Float(2 * index) / Float(turned)
            let frequency = 1 / Float(pow(base, Double(exponent)))
            return switch scaling {
            case .standard, .dynamic, .yarn, .longrope: frequency
            case .linear(let factor): frequency / Float(factor)
            case .factors(let factors): frequency / factors[index]
            case .llama3(let factor, let low, let high, let original):
                Self.llama3(
                    frequency, factor: Float(factor), low: Float(low), high: Float(high),
                    originalPositions: Float(original))
            }
        }
    }

    /// 1 / (factors[i] base^(2i/turned)).
    private func divided(by factors: [Float]) -> [Float] {
        factors.enumerated().map { index, factor in
            1 / (factor * Float(pow(base, Double(Float(2 * index) / Float(turned)))))
        }
    }

    private static func llama3(
        _ frequency: Float, factor: Float, low: Float, high: Float, originalPositions: Float
    ) -> Float {
        let wavelength = Float(2 * Double.pi) / frequency
        if wavelength > originalPositions / low { return frequency / factor }
        if wavelength < originalPositions / high { return frequency }
        let smooth = (originalPositions / wavelength - low) / (high - low)
        return (1 - smooth) * frequency / factor + smooth * frequency
    }

    /// The frequencies of a base without a scaling.
    func plain(base: Double) -> RotaryFrequencies {
        var copy = self
        (copy.base, copy.scaling) = (base, .standard)
        return copy
    }

    /// The table of cosines and sines. Where frequencies depend on the length, each pass has those of its longest
    /// sequence, as transformers has them in a batch that it sees first: a dynamic scaling does not remember a longer
    /// batch before.
    func table(
        _ context: ComputeContext, isInPairs: Bool = false, positionFactor: (@Sendable (Int) -> Float)? = nil
    ) -> RotaryTable {
        let form = RotaryForm(
            factor: scaling.attentionFactor, isInPairs: isInPairs, positionFactor: positionFactor)
        switch scaling {
        case .dynamic, .longrope:
            return RotaryTable(context, form: form) { [self] positions in values(positions: positions) }
        case .standard, .linear, .llama3, .yarn, .factors:
            return RotaryTable(inverseFrequencies: values(positions: 1), context, form: form)
        }
    }
}

extension ModelConfiguration {
    /// The rotary frequencies.
    package var rotary: RotaryFrequencies {
        RotaryFrequencies(
            base: rotaryBase, scaling: rotaryScaling, turned: turnedSize, maximumPositions: maximumPositions)
    }

    /// The angle that each pair of a head's elements turns by for each position (radians), in a pass that is not longer
    /// than a scaling's first context.
    package var inverseFrequencies: [Float] { rotary.values(positions: 1) }
}
