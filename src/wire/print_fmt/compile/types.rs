//! Types by name: casts and sizes.

use super::super::parse::{Expr, TypeName};
use super::super::program::{NumNode, Ty};
use super::{Compiler, Elem, Result, U64, Val, refuse};
use crate::wire::format::element_bytes;

impl Compiler<'_> {
    /// Bytes of a type, pointers included.
    pub(super) fn size_of(&self, type_name: &TypeName) -> Option<u16> {
        if type_name.stars > 0 {
            return Some(u16::from(self.abi.long_bytes));
        }
        element_bytes(&type_name.words.join(" "), self.abi)
    }

    /// The integer type of a cast; `None` if only the kernel knows it.
    pub(super) fn cast_type(&self, type_name: &TypeName) -> Option<Ty> {
        if type_name.stars > 0 {
            return Some(self.long(false));
        }
        let bytes = u8::try_from(self.size_of(type_name)?).ok()?;
        let has = |name: &str| type_name.words.iter().any(|word| word == name);
        let first = type_name.words.iter().find(|word| *word != "const").map_or("", |word| word.as_str());
        let unsigned = has("unsigned")
            || has("bool")
            || has("_Bool")
            || first.starts_with('u')
            || first.starts_with("__u")
            || first.starts_with("__le")
            || first.starts_with("__be")
            || matches!(first, "size_t" | "gfp_t" | "dev_t" | "umode_t" | "dma_addr_t" | "char");
        Some(Ty { bytes, signed: !unsigned })
    }

    pub(super) fn cast(&mut self, type_name: &TypeName, inner: &Expr) -> Result<Val> {
        let value = self.value(inner)?;
        let ty = self.cast_type(type_name);
        match value {
            Val::Num(num, from) => {
                let Some(to) = ty else { return Ok(Val::Num(num, from)) };
                if self.lte {
                    const CUTTING: &[&str] = &[
                        "u8",
                        "s8",
                        "char",
                        "unsigned char",
                        "u16",
                        "s16",
                        "short",
                        "unsigned short",
                        "u32",
                        "s32",
                        "int",
                        "unsigned int",
                    ];
                    // These names cut the value; none of them extends a sign.
                    let cuts = type_name.stars == 0 && CUTTING.contains(&type_name.words.join(" ").as_str());
                    let to = if cuts { Ty { signed: false, ..to } } else { U64 };
                    return Ok(Val::Num(self.fitted(num, U64, to)?, U64));
                }
                if type_name.words.iter().any(|word| word == "bool" || word == "_Bool") && type_name.stars == 0 {
                    let zero = self.push_num(NumNode::IsZero(num))?;
                    return Ok(Val::Num(self.push_num(NumNode::IsZero(zero))?, to));
                }
                Ok(Val::Num(self.fitted(num, from, to)?, to))
            }
            Val::Mem(mem, elem) if type_name.stars == 1 => {
                let pointee = self.cast_type(&TypeName { words: type_name.words.clone(), stars: 0 });
                let ty = pointee.map_or(elem.ty, |ty| Ty { signed: ty.signed && !self.lte, ..ty });
                Ok(Val::Mem(mem, Elem { ty, ..elem }))
            }
            Val::Mem(mem, elem) if type_name.stars > 1 => Ok(Val::Mem(mem, Elem { ty: self.long(false), ..elem })),
            Val::Mem(mem, elem) => {
                let (num, from) = self.number_of(Val::Mem(mem, elem))?;
                Ok(Val::Num(num, from))
            }
            Val::Txt(_) if self.lte => Ok(Val::Txt(self.literal_text(b"")?)),
            other => Ok(other),
        }
    }

    pub(super) fn size(&mut self, bytes: u16) -> Result<Val> {
        let ty = if self.lte { U64 } else { self.long(false) };
        Ok(Val::Num(self.constant(u64::from(bytes))?, ty))
    }

    pub(super) fn sizeof(&mut self, inner: &Expr) -> Result<Val> {
        let bytes = match inner {
            Expr::Field(name) => match self.field(name) {
                Some(field) => field.size,
                None => return refuse("sizeof no field"),
            },
            Expr::Name(name) => match self.size_of(&TypeName { words: vec![name.clone()], stars: 0 }) {
                Some(bytes) => bytes,
                None => return refuse("sizeof a type that only the kernel knows"),
            },
            Expr::Index(base, _) => match self.value(base)? {
                Val::Mem(_, elem) => u16::from(elem.ty.bytes),
                _ => return refuse("sizeof an element of a number"),
            },
            other => match self.value(other)? {
                Val::Num(_, ty) => u16::from(ty.bytes),
                Val::Mem(_, elem) if elem.total > 0 => elem.total,
                _ => return refuse("sizeof an expression"),
            },
        };
        self.size(bytes)
    }
}
